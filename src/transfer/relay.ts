/**
 * CRIU's page stream over the data channel. CRIU writes pages one way and gets a few bytes of answer
 * at the end, so only the way from the source to the destination is made of sealed records.
 *
 * Written with events, not async iterators: a fifth of the CPU time a MiB (measured), and this is
 * the longest part of the freeze.
 */
import type { Duplex, Readable, Writable } from "node:stream";
import { UmsError } from "../errors.js";
import { endWrites, tolerateErrors, writeBytes } from "./bytes.js";
import { defaultStallTimeoutMs, type StreamOptions } from "./chunks.js";
import {
  createSealer,
  lengthBytes,
  maxRecordBytes,
  newKey,
  RecordOpener,
  totalBytes,
} from "./sealed-records.js";

/** What went from the source to the destination; equal on both sides when both succeeded. */
export interface RelayTotals {
  bytes: number;
  /** Of the stream's seals, lower-case hex. */
  digest: string;
}

export interface RelayOptions extends StreamOptions {
  /** Called with all bytes so far. */
  onProgress?: (bytes: number) => void;
}

/** Pieces are sent together up to this, so that a record's cost is spread. */
const gatherBytes = 256 * 1024;

/**
 * The source's end: reads what CRIU's dump writes to `local`, sends it as records, and writes the
 * destination's answers to `local` as they are. Ends when both directions have ended; on a failure
 * both streams are destroyed.
 * @throws as {@link sendBytes}
 */
export async function relayFromDump(
  local: Duplex,
  channel: Duplex,
  options: RelayOptions = {},
): Promise<RelayTotals> {
  return both(local, channel, [
    sendBytes(local, channel, options),
    copyRaw(channel, local, options),
  ]);
}

/**
 * The destination's end: verifies the records of `channel`, writes their bytes to CRIU's page server
 * (`local`), and returns its answers as they are.
 * @throws as {@link receiveBytes}
 */
export async function relayToPageServer(
  channel: Duplex,
  local: Duplex,
  options: RelayOptions = {},
): Promise<RelayTotals> {
  return both(local, channel, [
    receiveBytes(channel, local, options),
    copyRaw(local, channel, options),
  ]);
}

/**
 * Sends a byte stream of unknown length as records and ends the writable side.
 * @throws ERR_TRANSFER_SHORT or ERR_PEER_UNREACHABLE when the receiver stops, ERR_DEADLINE when it
 *   stalls, and what reading throws. How long `from` may be silent is its owner's business.
 */
export async function sendBytes(
  from: Readable,
  to: Writable,
  options: RelayOptions = {},
): Promise<RelayTotals> {
  const key = newKey();
  const sealer = createSealer(key);
  let gathered: Buffer[] = [];
  let gatheredBytes = 0;
  const flush = () => {
    if (gatheredBytes === 0) return true;
    const length = Buffer.alloc(lengthBytes);
    length.writeUInt32BE(gatheredBytes);
    const hasRoom = writeTogether(to, [length, ...gathered, sealer.next(gathered)]);
    gathered = [];
    gatheredBytes = 0;
    options.onProgress?.(sealer.bytes);
    return hasRoom;
  };
  to.write(key);
  await pump(from, to, options, {
    take(piece) {
      for (const part of split(piece)) {
        gathered.push(part);
        gatheredBytes += part.length;
      }
      return gatheredBytes < gatherBytes ? true : flush();
    },
    // What one turn of the event loop brought is sent at its end, however little.
    idle: flush,
  });
  flush();
  const { bytes } = sealer;
  const last = Buffer.alloc(lengthBytes + totalBytes);
  last.writeBigUInt64BE(BigInt(bytes), lengthBytes);
  const wait = stall(options, "sending the last record");
  await writeBytes(to, [last, sealer.next([last.subarray(lengthBytes)])], wait);
  await endWrites(to, wait);
  return { bytes, digest: sealer.digest() };
}

/**
 * Receives what {@link sendBytes} sends, writes only verified bytes, and ends `to`'s writable side.
 * @throws ERR_FRAME_INVALID for anything altered, ERR_TRANSFER_SHORT when it ends early,
 *   ERR_MANIFEST_MISMATCH when the totals differ, ERR_DEADLINE when either side stalls
 */
export async function receiveBytes(
  from: Readable,
  to: Writable,
  options: RelayOptions = {},
): Promise<RelayTotals> {
  let bytes = 0;
  let hasRoom = true;
  const opener = new RecordOpener((pieces, count) => {
    hasRoom = writeTogether(to, pieces);
    bytes += count;
    options.onProgress?.(bytes);
  });
  await pump(from, to, options, {
    take(piece) {
      hasRoom = true;
      opener.push(piece);
      return hasRoom;
    },
    idle: () => true,
  });
  if (!opener.ended) {
    throw new UmsError("ERR_TRANSFER_SHORT", "the page stream ended before its last record");
  }
  // The page server closes by itself once it has the last page, often before the totals come.
  if (!to.destroyed) await endWrites(to, stall(options, "writing the last bytes"));
  return { bytes, digest: opener.digest() };
}

interface Pump {
  /** Takes a piece; false when the target has no more room. */
  take(piece: Buffer): boolean;
  /** Nothing more has come in this turn of the event loop; returns as `take`. */
  idle(): boolean;
}

/**
 * Moves pieces until `from` has ended, pausing it while `to` has no room.
 * @throws what a stream fails with, or ERR_DEADLINE when `to` takes nothing for the stall timeout
 */
function pump(from: Readable, to: Writable, options: StreamOptions, work: Pump): Promise<void> {
  const { timeoutMs, what } = stall(options, "writing the page stream");
  return new Promise((resolve, reject) => {
    let timer: NodeJS.Timeout | undefined;
    let idle: NodeJS.Immediate | undefined;
    const settle = (fault?: unknown) => {
      clearTimeout(timer);
      clearImmediate(idle);
      from.off("data", onData).off("end", onEnd).off("error", settle).off("close", onClose);
      to.off("drain", onDrain).off("error", settle).off("close", onTargetClose);
      if (fault === undefined) resolve();
      else reject(UmsError.from(fault));
    };
    const guard = (step: () => boolean) => {
      try {
        if (step()) return;
        from.pause();
        timer ??= setTimeout(
          () => settle(new UmsError("ERR_DEADLINE", `${what} stalled for ${timeoutMs} ms`)),
          timeoutMs,
        );
      } catch (error) {
        settle(error);
      }
    };
    const onIdle = () => {
      idle = undefined;
      guard(work.idle);
    };
    const onData = (piece: Buffer) => {
      guard(() => work.take(piece));
      idle ??= setImmediate(onIdle);
    };
    const onDrain = () => {
      clearTimeout(timer);
      timer = undefined;
      from.resume();
    };
    const onEnd = () => settle();
    const onClose = () => settle(from.errored ?? to.errored ?? closed());
    // A target that has had enough is no failure unless something is still to be written.
    const onTargetClose = () => {
      if (to.errored !== null || timer !== undefined) onClose();
    };
    from.on("end", onEnd).on("error", settle).on("close", onClose);
    to.on("drain", onDrain).on("error", settle).on("close", onTargetClose);
    if (from.readableEnded) return onEnd();
    if (from.destroyed || to.destroyed) return onClose();
    from.on("data", onData);
  });
}

/** One call, one write to the system. */
function writeTogether(to: Writable, parts: readonly Buffer[]): boolean {
  if (to.destroyed) throw to.errored ?? closed();
  let hasRoom = true;
  to.cork();
  for (const part of parts) hasRoom = to.write(part);
  to.uncork();
  return hasRoom;
}

/** Pieces no larger than what may be gathered into one record. */
function split(piece: Buffer): Buffer[] {
  const largest = maxRecordBytes - gatherBytes;
  if (piece.length <= largest) return [piece];
  return [piece.subarray(0, largest), ...split(piece.subarray(largest))];
}

async function copyRaw(from: Readable, to: Writable, options: StreamOptions): Promise<void> {
  for await (const bytes of from.iterator({ destroyOnReturn: false })) {
    await writeBytes(to, [bytes as Buffer], stall(options, "writing the page server's answer"));
  }
  await endWrites(to, stall(options, "ending the answer"));
}

/** Waits for both directions; the first failure stops the other and is the one reported. */
async function both(
  local: Duplex,
  channel: Duplex,
  [counted, answers]: [Promise<RelayTotals>, Promise<void>],
): Promise<RelayTotals> {
  tolerateErrors(local);
  tolerateErrors(channel);
  try {
    const [result] = await Promise.all([counted, answers]);
    return result;
  } catch (error) {
    const failure = UmsError.from(error);
    channel.destroy(failure);
    local.destroy(failure);
    // The other direction fails with the streams; it must not outlive this call.
    await Promise.allSettled([counted, answers]);
    throw failure;
  }
}

function closed(): UmsError {
  return new UmsError("ERR_TRANSFER_SHORT", "the page stream was closed before its end");
}

function stall(options: StreamOptions, what: string) {
  return { timeoutMs: options.stallTimeoutMs ?? defaultStallTimeoutMs, what };
}
