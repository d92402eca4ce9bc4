/**
 * A small Redis client over RESP2 (https://redis.io/docs/latest/develop/reference/protocol-spec/):
 * one connection, any number of commands under way, answers in order.
 */
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { within } from "../../src/lib/deadline.js";

export type Reply = string | number | null | Reply[];

export interface RedisClient {
  /** @throws when the server answers with an error, the connection ends, or after `timeoutMs` */
  call(...command: string[]): Promise<Reply>;
  close(): void;
}

export interface RedisOptions {
  host: string;
  port: number;
  /** For the connection and for each answer, milliseconds. Default 60,000. */
  timeoutMs?: number;
}

export async function openRedis({
  host,
  port,
  timeoutMs = 60_000,
}: RedisOptions): Promise<RedisClient> {
  const socket = connect({ host, port, noDelay: true });
  try {
    await within(timeoutMs, `connecting to port ${port}`, once(socket, "connect"));
  } catch (error) {
    socket.destroy();
    throw error;
  }
  return new Client(socket, timeoutMs);
}

interface Waiter {
  resolve(reply: Reply): void;
  reject(error: Error): void;
}

class Client implements RedisClient {
  private readonly waiters: Waiter[] = [];
  private received: Buffer = Buffer.alloc(0);
  private ended: Error | undefined;

  constructor(
    private readonly socket: Socket,
    private readonly timeoutMs: number,
  ) {
    socket.on("data", (bytes) => this.take(bytes));
    socket.on("error", (error) => this.end(error));
    socket.on("close", () => this.end(new Error("Redis closed the connection")));
  }

  call(...command: string[]): Promise<Reply> {
    if (this.ended !== undefined) return Promise.reject(this.ended);
    const parts = command.map((part) => `$${Buffer.byteLength(part)}\r\n${part}\r\n`);
    const reply = new Promise<Reply>((resolve, reject) => {
      this.waiters.push({ resolve, reject });
      this.socket.write(`*${command.length}\r\n${parts.join("")}`);
    });
    return within(this.timeoutMs, `Redis ${command[0]}`, reply);
  }

  close(): void {
    this.socket.destroy();
  }

  private take(bytes: Buffer): void {
    this.received = this.received.length === 0 ? bytes : Buffer.concat([this.received, bytes]);
    let offset = 0;
    for (;;) {
      const parsed = parseReply(this.received, offset);
      if (parsed === undefined) break;
      offset = parsed.end;
      const waiter = this.waiters.shift();
      if (parsed.value instanceof Error) waiter?.reject(parsed.value);
      else waiter?.resolve(parsed.value);
    }
    this.received = this.received.subarray(offset);
  }

  private end(error: Error): void {
    this.ended ??= error;
    for (const waiter of this.waiters.splice(0)) waiter.reject(this.ended);
  }
}

interface Parsed<T> {
  value: T;
  /** Offset of the first byte behind it. */
  end: number;
}

/** Undefined: not all of it has come. */
function parseReply(bytes: Buffer, offset: number): Parsed<Reply | Error> | undefined {
  const lineEnd = bytes.indexOf("\r\n", offset);
  if (lineEnd === -1) return undefined;
  const end = lineEnd + 2;
  const text = bytes.toString("utf8", offset + 1, lineEnd);
  switch (bytes.toString("latin1", offset, offset + 1)) {
    case "+":
      return { value: text, end };
    case "-":
      return { value: new Error(text), end };
    case ":":
      return { value: Number(text), end };
    case "$":
      return parseBulk(bytes, end, Number(text));
    case "*":
      return parseArray(bytes, end, Number(text));
    default:
      throw new Error(`not a RESP2 reply: ${text.slice(0, 80)}`);
  }
}

function parseBulk(bytes: Buffer, start: number, length: number): Parsed<Reply> | undefined {
  if (length < 0) return { value: null, end: start };
  const end = start + length + 2;
  if (bytes.length < end) return undefined;
  return { value: bytes.toString("utf8", start, start + length), end };
}

function parseArray(bytes: Buffer, start: number, length: number): Parsed<Reply> | undefined {
  const items: Reply[] = [];
  let end = start;
  for (let index = 0; index < length; index += 1) {
    const parsed = parseReply(bytes, end);
    if (parsed === undefined) return undefined;
    if (parsed.value instanceof Error) throw parsed.value;
    items.push(parsed.value);
    end = parsed.end;
  }
  return { value: length < 0 ? null : items, end };
}
