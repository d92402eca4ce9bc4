/** How the verbs reach a supervisor: the local socket, or an address with an operator's certificate. */
import type { Command } from "commander";
import { UmsError } from "../errors.js";
import { connectLocal, connectRemote, type OperatorClient } from "../grpc/operator-client.js";
import { resolveAddress } from "../peer/address.js";
import { openIdentity } from "../peer/identity.js";
import { localSocketPath } from "../supervisor/migration-interface.js";

export interface ConnectionFlags {
  on?: string;
  tls?: string;
}

export function addConnectionFlags(command: Command): Command {
  return command
    .option("--on <address>", "supervisor to ask, HOST:PORT (default: the one in this container)")
    .option("--tls <directory>", "operator certificate (ca.crt, tls.crt, tls.key) for --on");
}

/** Calls a supervisor and closes the connection. @throws ERR_CONFIG_INVALID, ERR_PKI and its own */
export async function withSupervisor<T>(
  flags: ConnectionFlags,
  work: (supervisor: OperatorClient) => Promise<T>,
): Promise<T> {
  const client = await connect(flags);
  try {
    return await work(client);
  } finally {
    client.close();
  }
}

async function connect({ on, tls }: ConnectionFlags): Promise<OperatorClient> {
  if (on === undefined) return connectLocal(localSocketPath);
  if (tls === undefined) {
    throw new UmsError("ERR_CONFIG_INVALID", "--on needs --tls", {
      hint: "make a certificate with `ums pki issue NAME --operator`",
    });
  }
  const { host, port } = await resolveAddress(on, { allowOwn: true });
  const address = host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
  return connectRemote(address, openIdentity(tls).current());
}
