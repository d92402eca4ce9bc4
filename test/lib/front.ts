/** A Frontman between real sockets, for its tests. */
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import {
  createFrontman,
  type Frontman,
  type FrontmanOptions,
} from "../../src/frontman/frontman.js";
import type { Mode } from "../../src/frontman/modes.js";
import { createPlaceBoard, type PlaceBoard, type PlaceState } from "../../src/frontman/place.js";
import { within } from "../../src/lib/deadline.js";
import { silentLogger } from "../../src/lib/log.js";

export const host = "127.0.0.1";
export const servicePort = 80;
/** Not what is measured: an end for a test that hangs, on a busy machine too. */
const stepTimeoutMs = 15_000;

export interface Front {
  frontman: Frontman;
  where: PlaceBoard;
  port: number;
  /** The service appears: here or elsewhere, at a port of this machine. */
  appear(state: Exclude<PlaceState, "moving">, at: Server | number): void;
}

/** Makes a Frontman of a service that moves, for `use`, and closes everything afterwards. */
export async function withFront(
  mode: Mode,
  use: (front: Front) => Promise<void>,
  options: Partial<FrontmanOptions> = {},
): Promise<void> {
  const where = createPlaceBoard({ state: "moving" });
  const listen = { host, port: 0 };
  const settings = { listen, servicePort, mode, where, log: silentLogger() };
  const frontman = await createFrontman({ ...settings, ...options });
  const appear: Front["appear"] = (state, at) => {
    const port = typeof at === "number" ? at : portOf(at);
    where.set({ state, endpoint: { host, ports: { [servicePort]: port } } });
  };
  try {
    await use({ frontman, where, port: frontman.port, appear });
  } finally {
    await frontman.close();
  }
}

/** A TCP server for `use`, half-open sockets allowed. */
export async function withServer(
  onConnection: (socket: Socket) => void,
  use: (server: Server) => Promise<void>,
): Promise<void> {
  const sockets = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket);
    socket.on("error", () => undefined); // Clients of these tests break off.
    onConnection(socket);
  });
  server.listen(0, host);
  await once(server, "listening");
  try {
    await use(server);
  } finally {
    for (const socket of sockets) socket.destroy();
    server.close();
  }
}

export function portOf(server: { address(): AddressInfo | string | null }): number {
  return (server.address() as AddressInfo).port;
}

export async function dialTo(port: number): Promise<Socket> {
  const socket = connect({ host, port, allowHalfOpen: true });
  await soon("a connection", once(socket, "connect"));
  return socket;
}

/** Everything the other side says until it ends; rejects when the connection breaks. */
export async function hear(socket: Socket): Promise<Buffer> {
  const chunks: Buffer[] = [];
  // Not `for await`, which ends both halves.
  socket.on("data", (chunk: Buffer) => chunks.push(chunk));
  await soon("the end of the answer", once(socket, "end"));
  return Buffer.concat(chunks);
}

/** Sends a text as one half of a conversation and hears the other half. */
export async function say(port: number, text: string): Promise<string> {
  const socket = await dialTo(port);
  socket.end(text);
  return (await hear(socket)).toString();
}

export function soon<T>(what: string, work: Promise<T>): Promise<T> {
  return within(stepTimeoutMs, what, work);
}
