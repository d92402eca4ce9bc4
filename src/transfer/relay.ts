/**
 * CRIU's page stream over the data channel. CRIU writes pages one way and gets a few bytes of answer
 * at the end, so only the way from the source to the destination is made of verified records.
 *
 * `local` sockets are made with `allowHalfOpen`, or Node ends them when CRIU has only finished one
 * direction.
 */
import type { Duplex, Readable, Writable } from "node:stream";
import { UmsError } from "../errors.js";
import { endWrites, tolerateErrors, writeBytes } from "./bytes.js";
import {
  checkTotals,
  createContentHash,
  createRecordReader,
  createRecordWriter,
  defaultStallTimeoutMs,
  encodeTotals,
  type StreamOptions,
  unexpected,
} from "./chunks.js";

/** What went from the source to the destination; equal on both sides when both succeeded. */
export interface RelayTotals {
  bytes: number;
  /** Lower-case hex. */
  sha256: string;
}

export interface RelayOptions extends StreamOptions {
  /** Called with all bytes so far, after each read. */
  onProgress?: (bytes: number) => void;
}

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
  const writer = createRecordWriter(to, options);
  const content = createContentHash();
  for await (const bytes of from.iterator({ destroyOnReturn: false })) {
    await writer.chunks(bytes as Buffer, content);
    options.onProgress?.(content.bytes);
  }
  await writer.control("end", encodeTotals(content));
  await endWrites(to, stall(options, "sending the last record"));
  return totals(content);
}

/**
 * Receives what {@link sendBytes} sends, writes only verified bytes, and ends `to`'s writable side.
 * @throws ERR_FRAME_INVALID for anything altered, ERR_TRANSFER_SHORT when it ends early,
 *   ERR_MANIFEST_MISMATCH when the totals differ, ERR_DEADLINE when the sender is silent
 */
export async function receiveBytes(
  from: Readable,
  to: Writable,
  options: RelayOptions = {},
): Promise<RelayTotals> {
  const read = createRecordReader(from, options);
  const content = createContentHash();
  for (;;) {
    const { type, payload } = await read(content);
    if (type === "end") {
      checkTotals(payload, content, "the byte stream");
      await endWrites(to, stall(options, "writing the last bytes"));
      return totals(content);
    }
    if (type !== "chunk") throw unexpected(type, "in a byte stream");
    await writeBytes(to, [payload], stall(options, "writing received bytes"));
    options.onProgress?.(content.bytes);
  }
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

function totals(content: { bytes: number; soFar(): Buffer }): RelayTotals {
  return { bytes: content.bytes, sha256: content.soFar().toString("hex") };
}

function stall(options: StreamOptions, what: string) {
  return { timeoutMs: options.stallTimeoutMs ?? defaultStallTimeoutMs, what };
}
