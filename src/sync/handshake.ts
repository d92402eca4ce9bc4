/**
 * The two lines of JSON that precede rsync's own protocol on a stream.
 *
 * | direction | line | meaning |
 * |---|---|---|
 * | sender to receiver | {@link SyncHello} | which tree, which pass, the secret to be used |
 * | receiver to sender | {@link SyncReady} | a daemon is ready behind this stream |
 */
import type { Duplex } from "node:stream";
import { UmsError } from "../errors.js";
import type { SyncPass } from "./tree.js";

export const syncVersion = 1;

export interface SyncHello {
  version: number;
  tree: string;
  pass: SyncPass;
  /**
   * Fresh for every connection. The stream is authenticated already; this keeps other local
   * processes from using the sender's loopback port, which leads into the stream.
   */
  secret: string;
}

export interface SyncReady {
  version: number;
  /** True when no two names at the destination share a file, see `SenderMode`. */
  isLinkFree: boolean;
}

const maxLineBytes = 4_096;

/** @throws ERR_FRAME_INVALID when the line is not a hello of our version */
export async function readHello(stream: Duplex, signal: AbortSignal): Promise<SyncHello> {
  const value = await readLine(stream, signal);
  const { version, tree, pass, secret } = value;
  if (version !== syncVersion) {
    throw new UmsError("ERR_PEER_VERSION", `peer synchronizes by version ${String(version)}`);
  }
  if (typeof tree !== "string" || (pass !== "live" && pass !== "final")) throw invalid();
  // The secret becomes a line of a secrets file.
  if (typeof secret !== "string" || !/^[0-9a-f]{32,128}$/.test(secret)) throw invalid();
  return { version, tree, pass, secret };
}

/** @throws ERR_FRAME_INVALID or ERR_TRANSFER_SHORT when the peer hangs up instead of answering */
export async function readReady(stream: Duplex, signal: AbortSignal): Promise<SyncReady> {
  const { version, isLinkFree } = await readLine(stream, signal);
  if (version !== syncVersion || typeof isLinkFree !== "boolean") throw invalid();
  return { version, isLinkFree };
}

export function writeLine(stream: Duplex, line: SyncHello | SyncReady): void {
  stream.write(`${JSON.stringify(line)}\n`);
}

/** Reads up to a newline; what follows it stays in the stream. */
function readLine(stream: Duplex, signal: AbortSignal): Promise<Record<string, unknown>> {
  return new Promise((resolve, reject) => {
    let held: Buffer = Buffer.alloc(0);
    const done = (settle: () => void) => {
      stream.off("readable", onReadable);
      stream.off("end", onEnd);
      stream.off("close", onEnd);
      stream.off("error", onError);
      signal.removeEventListener("abort", onAbort);
      settle();
    };
    const onAbort = () => done(() => reject(signal.reason));
    const onError = (error: Error) => done(() => reject(cut(error)));
    const onEnd = () => done(() => reject(cut()));
    const onReadable = () => {
      const chunk: Buffer | null = stream.read();
      if (chunk === null) return;
      held = Buffer.concat([held, chunk]);
      const end = held.indexOf(0x0a);
      if (end === -1 && held.length <= maxLineBytes) return;
      done(() => {
        if (end === -1) return reject(invalid());
        if (end + 1 < held.length) stream.unshift(held.subarray(end + 1));
        const value = parseObject(held.toString("utf8", 0, end));
        if (value === undefined) reject(invalid());
        else resolve(value);
      });
    };
    if (signal.aborted) return reject(signal.reason);
    signal.addEventListener("abort", onAbort, { once: true });
    stream.on("readable", onReadable);
    stream.on("end", onEnd);
    stream.on("close", onEnd);
    stream.on("error", onError);
    onReadable();
  });
}

function parseObject(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? { ...value } : undefined;
  } catch {
    // Not JSON: the caller reports an invalid frame.
    return undefined;
  }
}

function invalid(): UmsError {
  return new UmsError("ERR_FRAME_INVALID", "the peer's synchronization greeting is not valid");
}

function cut(cause?: Error): UmsError {
  return new UmsError(
    "ERR_TRANSFER_SHORT",
    "the peer closed a synchronization stream before it answered",
    { cause },
  );
}
