/**
 * A service and a client for network tests. The service answers each message with its own name,
 * the client's address as it sees it, and the message. Its connections can be moved to another
 * namespace.
 */
import { createSocket, type Socket as UdpSocket } from "node:dgram";
import { once } from "node:events";
import { connect, createServer, Socket } from "node:net";
import { createInterface } from "node:readline";
import { within } from "../../src/lib/deadline.js";
import { serveAgent } from "./netns.js";
import { dumpTcp, restoreTcp, type TcpState } from "./tcp-repair.js";

let serviceName = "";
const accepted = new Set<Socket>();
const outgoing = new Map<string, { socket: Socket; lines: string[]; error?: string }>();
let udp: UdpSocket;
const datagrams: string[] = [];

serveAgent({
  serve: async (name: string, port: number, localAddress: string) => {
    serviceName = name;
    const server = createServer(answer).listen(port, localAddress);
    await once(server, "listening");
    const datagramServer = createSocket("udp4").bind(port, localAddress);
    datagramServer.on("message", (message, from) => {
      datagramServer.send(
        `${name} ${from.address}:${from.port} ${message}`,
        from.port,
        from.address,
      );
    });
    await once(datagramServer, "listening");
  },
  /** Swallows what comes, as fast as it comes: for the measure of throughput. */
  sink: async (port: number, localAddress: string) => {
    const server = createServer((socket) => {
      let bytes = 0;
      socket.on("data", (chunk) => {
        bytes += chunk.length;
      });
      socket.on("end", () => socket.end(`${bytes}\n`));
    });
    server.listen(port, localAddress);
    await once(server, "listening");
  },
  /** The service speaks first, on all its connections. */
  push: (text: string) => {
    for (const socket of accepted) socket.write(`${serviceName} ${text}\n`);
  },
  dump: () => [...accepted].map(dump),
  restore: (states: TcpState[]) => {
    for (const state of states) answer(new Socket({ fd: restoreTcp(state) }));
  },
  connect: async (id: string, host: string, port: number, localPort?: number) => {
    const socket = connect({ host, port, ...(localPort === undefined ? {} : { localPort }) });
    const entry: { socket: Socket; lines: string[]; error?: string } = { socket, lines: [] };
    outgoing.set(id, entry);
    createInterface({ input: socket }).on("line", (line) => entry.lines.push(line));
    socket.on("error", (error) => {
      entry.error = error.message;
    });
  },
  send: (id: string, text: string) => {
    outgoing.get(id)?.socket.write(`${text}\n`);
  },
  /** What came back on a connection, once there are `count` lines. */
  lines: async (id: string, count: number) => {
    const entry = outgoing.get(id);
    const endMs = performance.now() + 5_000;
    while (entry !== undefined && entry.lines.length < count && entry.error === undefined) {
      if (performance.now() > endMs) break;
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    return entry?.error ?? entry?.lines ?? [];
  },
  localPort: (id: string) => outgoing.get(id)?.socket.localPort,
  hangUp: (id: string) => {
    outgoing.get(id)?.socket.destroy();
  },
  openUdp: async (port: number) => {
    udp = createSocket("udp4").bind(port);
    udp.on("message", (message) => datagrams.push(String(message)));
    await once(udp, "listening");
  },
  sendUdp: async (texts: string[], host: string, port: number) => {
    for (const text of texts) {
      await new Promise((resolve) => udp.send(text, port, host, resolve));
    }
  },
  datagrams: async (count: number) => {
    const endMs = performance.now() + 3_000;
    while (datagrams.length < count && performance.now() < endMs) {
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    return datagrams.splice(0);
  },
  /** Sends `bytes` and returns how long it took until the sink had them, ms. */
  flood: async (host: string, port: number, bytes: number) => {
    const socket = connect(port, host);
    const startMs = performance.now();
    const chunk = Buffer.alloc(256 * 1024);
    for (let sent = 0; sent < bytes; sent += chunk.length) {
      if (!socket.write(chunk)) await once(socket, "drain");
    }
    socket.end();
    await within(15_000, "flood", once(socket, "data"));
    return performance.now() - startMs;
  },
});

function answer(socket: Socket): void {
  accepted.add(socket);
  socket.on("close", () => accepted.delete(socket));
  socket.on("error", () => {
    // The client's end is what the tests look at.
  });
  const { remoteAddress, remotePort } = socket;
  createInterface({ input: socket }).on("line", (line) => {
    socket.write(`${serviceName} ${remoteAddress}:${remotePort} ${line}\n`);
  });
}

function dump(socket: Socket): TcpState {
  const { fd } = (socket as unknown as { _handle: { fd: number } })._handle;
  const { localAddress = "", localPort = 0, remoteAddress = "", remotePort = 0 } = socket;
  const ends = { local: [localAddress, localPort], remote: [remoteAddress, remotePort] } as const;
  const state = dumpTcp(fd, { local: [...ends.local], remote: [...ends.remote] });
  socket.destroy();
  return state;
}
