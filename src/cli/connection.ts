/** How the verbs reach a supervisor: the local socket, or an address with an operator's certificate. */
import { type ChannelCredentials, credentials } from "@grpc/grpc-js";
import type { Command } from "commander";
import { UmsError } from "../errors.js";
import { MigrationClient } from "../gen/ums/migration/v1/migration.js";
import { resolveAddress } from "../peer/address.js";
import { openIdentity } from "../peer/identity.js";
import { serverIdentityCheck } from "../transfer/security.js";

export interface ConnectionFlags {
  on?: string;
  tls?: string;
}

const localSocketPath = "/run/ums/ums.sock";

export function addConnectionFlags(command: Command): Command {
  return command
    .option("--on <address>", "supervisor to ask, HOST:PORT (default: the one in this container)")
    .option("--tls <directory>", "operator certificate (ca.crt, tls.crt, tls.key) for --on");
}

/** @throws ERR_CONFIG_INVALID, ERR_PKI, ERR_PEER_UNREACHABLE */
export async function connectSupervisor(flags: ConnectionFlags): Promise<MigrationClient> {
  if (flags.on === undefined) {
    return new MigrationClient(`unix:${localSocketPath}`, credentials.createInsecure());
  }
  if (flags.tls === undefined) {
    throw new UmsError("ERR_CONFIG_INVALID", "--on needs --tls", {
      hint: "make a certificate with `ums pki issue NAME --operator`",
    });
  }
  const { host, port } = await resolveAddress(flags.on, { allowOwn: true });
  const target = host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
  return new MigrationClient(target, tlsCredentials(flags.tls));
}

function tlsCredentials(directory: string): ChannelCredentials {
  const own = openIdentity(directory).current();
  return credentials.createSsl(Buffer.from(own.ca), Buffer.from(own.key), Buffer.from(own.cert), {
    checkServerIdentity: serverIdentityCheck(own, undefined) as never,
  });
}
