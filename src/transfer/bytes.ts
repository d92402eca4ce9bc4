/**
 * Exact reads and bounded writes on a stream: the two things every format here is made of.
 *
 * A read takes what it needs and leaves the rest in the stream, so a stream can be handed on after
 * a header without pushing bytes back.
 */
import type { Readable, Writable } from "node:stream";
import { UmsError } from "../errors.js";

export interface Wait {
  /** Longest time for this one read or write to finish, ms. */
  timeoutMs: number;
  /** What is waited for, in the error's text. */
  what: string;
}

/**
 * Reads exactly `count` bytes.
 * @throws ERR_TRANSFER_SHORT when the stream ends or closes before
 * @throws ERR_DEADLINE when they do not come in time: a partial arrival does not restart the clock
 * @throws what the stream failed with, mapped by {@link UmsError.from}
 */
export async function readBytes(stream: Readable, count: number, wait: Wait): Promise<Buffer> {
  const bytes = await readOrEnd(stream, count, wait);
  if (bytes === undefined && count > 0) throw short(wait.what, 0, count);
  return bytes ?? Buffer.alloc(0);
}

/** As {@link readBytes}, but undefined when the stream ends before the first of the bytes. */
export function readOrEnd(
  stream: Readable,
  count: number,
  wait: Wait,
): Promise<Buffer | undefined> {
  return new Promise((resolve, reject) => {
    const settle = (end: () => void) => {
      clearTimeout(timer);
      stream.off("readable", advance).off("end", advance).off("close", advance);
      stream.off("error", advance);
      end();
    };
    const advance = () => {
      if (stream.errored) return settle(() => reject(UmsError.from(stream.errored)));
      const bytes: Buffer | null = stream.read(count);
      if (bytes !== null && bytes.length === count) return settle(() => resolve(bytes));
      // At the end of a stream read() returns what is left.
      if (bytes !== null) return settle(() => reject(short(wait.what, bytes.length, count)));
      if (stream.readableEnded) return settle(() => resolve(undefined));
      if (stream.destroyed) return settle(() => reject(short(wait.what, 0, count)));
    };
    const timer = setTimeout(() => settle(() => reject(late(wait))), wait.timeoutMs);
    stream.on("readable", advance).on("end", advance).on("close", advance).on("error", advance);
    advance();
  });
}

/**
 * Writes and waits until the stream takes more, so that no more than its high-water mark is queued.
 * @throws ERR_TRANSFER_SHORT when the stream was closed, ERR_DEADLINE, or its mapped failure
 */
export function writeBytes(
  stream: Writable,
  parts: readonly Uint8Array[],
  wait: Wait,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const fault = writeFault(stream, wait);
    if (fault !== undefined) return reject(fault);
    let hasRoom = true;
    // One record, one TLS write: without the cork each part becomes a record and a system call.
    stream.cork();
    for (const part of parts) hasRoom = stream.write(part);
    stream.uncork();
    if (hasRoom) return resolve();
    const settle = (end: () => void) => {
      clearTimeout(timer);
      stream.off("drain", onDrain).off("error", onStop).off("close", onStop);
      end();
    };
    const onDrain = () => settle(resolve);
    const onStop = () => settle(() => reject(writeFault(stream, wait)));
    const timer = setTimeout(() => settle(() => reject(late(wait))), wait.timeoutMs);
    stream.on("drain", onDrain).on("error", onStop).on("close", onStop);
  });
}

/** Ends the writable side and waits until all is handed to the system. Errors as for a write. */
export function endWrites(stream: Writable, wait: Wait): Promise<void> {
  return new Promise((resolve, reject) => {
    const settle = (end: () => void) => {
      clearTimeout(timer);
      stream.off("finish", onFinish).off("error", onStop).off("close", onStop);
      end();
    };
    const onFinish = () => settle(resolve);
    const onStop = () =>
      settle(() => (stream.writableFinished ? resolve() : reject(writeFault(stream, wait))));
    const timer = setTimeout(() => settle(() => reject(late(wait))), wait.timeoutMs);
    if (stream.writableFinished) return onFinish();
    if (stream.destroyed) return onStop();
    stream.on("finish", onFinish).on("error", onStop).on("close", onStop);
    stream.end();
  });
}

/**
 * Keeps a failing stream from ending the process while nobody reads or writes it: Node throws an
 * "error" event without a listener. The failure shows at the next read or write.
 */
export function tolerateErrors(stream: Readable | Writable): void {
  stream.on("error", () => {
    // Kept by the stream in `errored`.
  });
}

function writeFault(stream: Writable, wait: Wait): UmsError | undefined {
  if (stream.errored) return UmsError.from(stream.errored);
  if (stream.destroyed || stream.writableEnded) {
    return new UmsError("ERR_TRANSFER_SHORT", `${wait.what}: the stream was closed`);
  }
  return undefined;
}

function short(what: string, got: number, wanted: number): UmsError {
  return new UmsError(
    "ERR_TRANSFER_SHORT",
    `${what}: the stream ended after ${got} of ${wanted} bytes`,
  );
}

function late({ what, timeoutMs }: Wait): UmsError {
  return new UmsError("ERR_DEADLINE", `${what} did not finish within ${timeoutMs} ms`);
}
