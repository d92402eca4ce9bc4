/**
 * A proxy on the data channel that spoils one stream. It has certificates of both peers, so it ends
 * TLS on each side and sees what the records protect; without them it passes the bytes of TLS on.
 */
import { createServer, type Server, type Socket, connect as tcpConnect } from "node:net";
import type { Duplex } from "node:stream";
import {
  type ConnectionOptions,
  createServer as createTlsServer,
  connect as tlsConnect,
} from "node:tls";
import { secureContextOptions, type TlsIdentity } from "../../src/transfer/security.js";

/** What happens to the stream's bytes from the source at `offset`, counted after the header. */
export type Spoil = "flip" | "drop" | "insert" | "reset" | "end" | "stall";

export interface FaultyProxyOptions {
  /** Where it listens, the engine's gateway. */
  host: string;
  target: { host: string; port: number };
  /** The peers' own; undefined: TLS goes through untouched, and every stream is spoilt. */
  identities: { source: TlsIdentity; destination: TlsIdentity } | undefined;
  /** Kind of stream that is spoilt. */
  kind: string;
  spoil: Spoil;
  offset: number;
}

export interface FaultyProxy {
  readonly port: number;
  /** Streams that were spoilt. */
  readonly spoilt: number;
  close(): Promise<void>;
}

/** Magic, length, JSON: src/transfer/README.md, "Opening". */
const prefixBytes = 8;
const changedBytes = 64;

export async function openFaultyProxy(options: FaultyProxyOptions): Promise<FaultyProxy> {
  const { identities, target, host } = options;
  const sockets = new Set<Duplex>();
  const state = { spoilt: 0 };
  const accept = (client: Duplex) => {
    const server =
      identities === undefined
        ? tcpConnect({ ...target, allowHalfOpen: true })
        : tlsConnect({
            ...secureContextOptions(identities.source),
            ...target,
            // The real peers check each other; here both certificates are known to be good.
            checkServerIdentity: () => undefined,
            allowHalfOpen: true,
          } as ConnectionOptions);
    for (const socket of [client, server]) {
      sockets.add(socket);
      socket.on("error", () => undefined); // The other side of it is ended by "close" below.
      socket.once("close", () => {
        sockets.delete(socket);
        client.destroy();
        server.destroy();
      });
    }
    carry(client, server, options, state);
    server.pipe(client);
  };
  const server: Server =
    identities === undefined
      ? createServer({ allowHalfOpen: true }, accept)
      : createTlsServer(
          {
            ...secureContextOptions(identities.destination),
            requestCert: true,
            allowHalfOpen: true,
          },
          accept,
        );
  await new Promise<void>((resolve) => server.listen(0, host, resolve));
  return {
    port: (server.address() as { port: number }).port,
    get spoilt() {
      return state.spoilt;
    },
    async close() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function carry(
  client: Duplex,
  server: Duplex,
  { identities, kind, spoil, offset }: FaultyProxyOptions,
  state: { spoilt: number },
): void {
  let head: Buffer | undefined = Buffer.alloc(0);
  let isChosen = identities === undefined;
  let seen = 0;
  let isDone = false;
  let isStalled = false;
  const forward = (bytes: Buffer) => {
    const at = offset - seen;
    seen += bytes.length;
    if (isStalled) return;
    if (!isChosen || isDone || at >= bytes.length) return void server.write(bytes);
    isDone = true;
    state.spoilt += 1;
    server.write(bytes.subarray(0, at));
    const rest = Buffer.from(bytes.subarray(at));
    if (spoil === "flip") rest[0] = (rest[0] ?? 0) ^ 0x10;
    if (spoil === "stall") isStalled = true;
    else if (spoil === "end") server.end();
    else if (spoil === "reset") reset(client, server);
    else if (spoil === "drop") server.write(rest.subarray(changedBytes));
    else if (spoil === "insert") server.write(Buffer.concat([Buffer.alloc(changedBytes), rest]));
    else server.write(rest);
  };
  client.on("data", (bytes: Buffer) => {
    if (head === undefined || identities === undefined) return forward(bytes);
    head = Buffer.concat([head, bytes]);
    const length = head.length < prefixBytes ? Infinity : prefixBytes + head.readUInt32BE(4);
    if (head.length < length) return;
    const text = head.subarray(prefixBytes, length).toString("utf8");
    isChosen = (JSON.parse(text) as { kind: string }).kind === kind;
    server.write(head.subarray(0, length));
    const rest = head.subarray(length);
    head = undefined;
    if (rest.length > 0) forward(rest);
  });
  client.on("end", () => {
    if (!isStalled) server.end();
  });
}

function reset(...sockets: Duplex[]): void {
  for (const socket of sockets) {
    const tcp = socket as Socket;
    if (typeof tcp.resetAndDestroy === "function") tcp.resetAndDestroy();
    else socket.destroy();
  }
}
