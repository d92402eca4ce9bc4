/** Connections to the echoes of the fixture `protocols`, with the clients people use. */
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { connect } from "node:net";
import { Client, credentials } from "@grpc/grpc-js";
import { WebSocket } from "ws";
import { within } from "../../src/lib/deadline.js";
import type { Echo } from "./sequence.js";

export interface Address {
  host: string;
  port: number;
}

const connectTimeoutMs = 10_000;

/** Lines over TCP. */
export async function openTcpEcho(address: Address): Promise<Echo> {
  const socket = connect(address);
  await within(connectTimeoutMs, "a TCP connection", once(socket, "connect"));
  socket.setNoDelay(true);
  return {
    send: (text) => socket.write(`${text}\n`),
    onText: (listener) => {
      let rest = "";
      socket.on("data", (chunk) => {
        const lines = (rest + chunk.toString()).split("\n");
        rest = lines.pop() ?? "";
        lines.forEach(listener);
      });
    },
    onEnd: (listener) => {
      socket.on("error", (error) => listener(error.message));
      socket.on("close", () => listener("closed"));
    },
    close: () => socket.destroy(),
  };
}

export async function openWebSocketEcho({ host, port }: Address): Promise<Echo> {
  const socket = new WebSocket(`ws://${host}:${port}`);
  await within(connectTimeoutMs, "a WebSocket", once(socket, "open"));
  return {
    send: (text) => socket.send(text),
    onText: (listener) => socket.on("message", (data) => listener(String(data))),
    onEnd: (listener) => {
      socket.on("error", (error) => listener(error.message));
      socket.on("close", (code) => listener(`closed with code ${code}`));
    },
    close: () => socket.terminate(),
  };
}

/** One bidirectional stream; messages are plain bytes, so no generated code is needed. */
export function openGrpcEcho({ host, port }: Address): Echo {
  const client = new Client(`${host}:${port}`, credentials.createInsecure());
  const toBytes = (text: string) => Buffer.from(text);
  const stream = client.makeBidiStreamRequest("/ums.test.Echo/Chat", toBytes, String);
  return {
    send: (text) => stream.write(text),
    onText: (listener) => stream.on("data", listener),
    onEnd: (listener) => {
      stream.on("error", (error) => listener(error.message));
      stream.on("end", () => listener("the stream ended"));
    },
    close: () => {
      stream.cancel();
      client.close();
    },
  };
}

export function openUdpEcho({ host, port }: Address): Echo {
  const socket = createSocket("udp4");
  return {
    send: (text) => socket.send(text, port, host),
    onText: (listener) => socket.on("message", (message) => listener(String(message))),
    onEnd: (listener) => socket.on("error", (error) => listener(error.message)),
    close: () => socket.close(),
  };
}
