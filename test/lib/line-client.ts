/** A client of the line protocols of the fixtures: one connection, answers in order. */
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { createInterface, type Interface } from "node:readline";
import { poll, within } from "../../src/lib/deadline.js";

export interface LineClient {
  /** Sends a line and resolves with the answer's. */
  ask(line: string, timeoutMs?: number): Promise<string>;
  close(): void;
}

const connectTimeoutMs = 30_000;
const answerTimeoutMs = 30_000;

export async function openLineClient(address: { host: string; port: number }): Promise<LineClient> {
  const socket = connect(address);
  try {
    await within(connectTimeoutMs, `connecting to port ${address.port}`, once(socket, "connect"));
  } catch (error) {
    socket.destroy();
    throw error;
  }
  socket.setNoDelay(true);
  return new Client(socket, createInterface({ input: socket }));
}

/** Connects once the service answers: its program may still be starting. */
export async function whenAnswering(address: { host: string; port: number }): Promise<LineClient> {
  const probe = () => askOnce(address, "check").catch(() => undefined);
  await poll(`port ${address.port} answers`, probe, { timeoutMs: connectTimeoutMs });
  return await openLineClient(address);
}

/** One question on a connection of its own. */
export async function askOnce(
  address: { host: string; port: number },
  line: string,
): Promise<string> {
  const client = await openLineClient(address);
  try {
    return await client.ask(line);
  } finally {
    client.close();
  }
}

interface Waiter {
  resolve(line: string): void;
  reject(error: Error): void;
}

class Client implements LineClient {
  private readonly waiters: Waiter[] = [];
  private ended: Error | undefined;

  constructor(
    private readonly socket: Socket,
    lines: Interface,
  ) {
    lines.on("line", (line) => this.waiters.shift()?.resolve(line));
    socket.on("error", (error) => this.end(error));
    // It passes the socket's error on, and would throw it where nobody listens.
    lines.on("error", (error: Error) => this.end(error));
    socket.on("close", () => this.end(new Error("the service closed the connection")));
  }

  ask(line: string, timeoutMs = answerTimeoutMs): Promise<string> {
    if (this.ended !== undefined) return Promise.reject(this.ended);
    const answer = new Promise<string>((resolve, reject) => {
      this.waiters.push({ resolve, reject });
      this.socket.write(`${line}\n`);
    });
    return within(timeoutMs, `the answer to "${line}"`, answer);
  }

  close(): void {
    this.socket.destroy();
  }

  private end(error: Error): void {
    this.ended ??= error;
    for (const waiter of this.waiters.splice(0)) waiter.reject(this.ended);
  }
}
