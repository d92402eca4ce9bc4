/** A data channel between peers "a" and "b", with certificates made for the occasion. */
import type { AddressInfo, Server } from "node:net";
import type { Duplex } from "node:stream";
import type { UmsError } from "../../src/errors.js";
import { within } from "../../src/lib/deadline.js";
import { type DataStreamOptions, openDataStream } from "../../src/transfer/client.js";
import type { StreamHeader } from "../../src/transfer/frame.js";
import type { PeerIdentity } from "../../src/transfer/security.js";
import { type DataServer, type DataServerOptions, listenData } from "../../src/transfer/server.js";
import { makeAuthority, type TestAuthority } from "./certificates.js";
import { withDirectory } from "./temporary.js";

export const header: StreamHeader = { migrationId: "m-1", kind: "test", name: "x" };
export const wait = { timeoutMs: 5_000, what: "the test" };

export interface Bench {
  directory: string;
  authority: TestAuthority;
  server: DataServer;
  accepted: { header: StreamHeader; peer: PeerIdentity }[];
  failures: UmsError[];
  open(options?: Partial<DataStreamOptions>): Promise<Duplex>;
}

/** A server of peer "b" that echoes, and a client "a" to open streams with. */
export async function withServer(
  options: Partial<DataServerOptions>,
  use: (bench: Bench) => Promise<void>,
): Promise<void> {
  await withDirectory(async (directory) => {
    const authority = await makeAuthority(directory);
    const a = await authority.identity("a");
    const accepted: Bench["accepted"] = [];
    const failures: UmsError[] = [];
    const server = await listenData({
      host: "127.0.0.1",
      port: 0,
      tls: await authority.identity("b"),
      onStream: (received, stream, peer) => {
        accepted.push({ header: received, peer });
        stream.pipe(stream);
      },
      onFailed: (error) => failures.push(error),
      ...options,
    });
    const opened: Duplex[] = [];
    const open = async (more: Partial<DataStreamOptions> = {}) => {
      const fixed = { host: "127.0.0.1", port: server.port, tls: a, header, timeoutMs: 5_000 };
      const stream = await openDataStream({ ...fixed, ...more });
      opened.push(stream);
      return stream;
    };
    try {
      const work = use({ directory, authority, server, accepted, failures, open });
      await within(30_000, "the test", work);
    } finally {
      for (const stream of opened) stream.destroy();
      await within(5_000, "closing the server", server.close()).catch(console.error);
    }
  });
}

/** Listens on a free loopback port and returns it. */
export function listen(server: Server): Promise<number> {
  return new Promise((resolve) => {
    server.listen(0, "127.0.0.1", () => resolve((server.address() as AddressInfo).port));
  });
}
