/** One connection passed on: bytes both ways, either end may close its half first. */
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { within } from "../lib/deadline.js";
import { type Ends, type ProxyVersion, proxyHeader } from "./proxy-protocol.js";

/** Dead clients and servers are noticed although nobody says anything. */
const keepAliveMs = 30_000;

export interface Target {
  host: string;
  port: number;
}

/** Connects within `timeoutMs`. @throws ERR_DEADLINE, ERR_PEER_UNREACHABLE's causes of Node */
export async function dial(target: Target, timeoutMs: number): Promise<Socket> {
  const socket = connect({ ...target, allowHalfOpen: true, noDelay: true });
  socket.setKeepAlive(true, keepAliveMs);
  try {
    await within(timeoutMs, `connecting to ${target.host}:${target.port}`, once(socket, "connect"));
    return socket;
  } catch (error) {
    socket.on("error", () => undefined); // Told already.
    socket.destroy();
    throw error;
  }
}

/** Writes the header that names the client. Before anything else. */
export function announce(upstream: Socket, client: Socket, version: ProxyVersion): void {
  const ends: Ends = {
    sourceAddress: client.remoteAddress ?? "",
    sourcePort: client.remotePort ?? 0,
    destinationAddress: client.localAddress ?? "",
    destinationPort: client.localPort ?? 0,
  };
  upstream.write(proxyHeader(version, ends));
}

/**
 * Joins two sockets until both have closed. A side that breaks breaks the other one.
 * @param lastWords set when the client has closed its half before: all that it said
 */
export function join(client: Socket, upstream: Socket, lastWords?: Buffer): Promise<void> {
  client.setNoDelay(true);
  client.setKeepAlive(true, keepAliveMs);
  const ended = Promise.all([whenClosed(client, upstream), whenClosed(upstream, client)]);
  upstream.pipe(client);
  if (lastWords === undefined) client.pipe(upstream);
  else upstream.end(lastWords);
  return ended.then(() => undefined);
}

function whenClosed(socket: Socket, other: Socket): Promise<void> {
  return new Promise((resolve) => {
    // What broke is nothing of ours; `close` follows, and the other side is reset as this one was.
    socket.on("error", () => other.resetAndDestroy());
    socket.once("close", () => {
      // After an orderly end the pipe still flushes what the other side has not taken yet.
      if (!socket.readableEnded) other.destroy();
      resolve();
    });
    if (socket.destroyed) {
      other.destroy();
      resolve();
    }
  });
}
