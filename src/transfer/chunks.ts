/**
 * Records: the pieces of a verified byte stream. See README.md, "Records".
 *
 * Every record ends with a SHA-256. A chunk's is the digest of all bytes of its content so far, this
 * chunk's included. So one pass over the bytes verifies each chunk before it is used, fails on a
 * dropped, repeated or reordered one, and gives the whole content's digest with the last; a digest
 * per chunk and one per file would hash every byte twice.
 */
import { createHash, type Hash } from "node:crypto";
import type { Readable, Writable } from "node:stream";
import { UmsError } from "../errors.js";
import { readBytes, writeBytes } from "./bytes.js";

/** Largest payload of a record, bytes. Above 64 KiB nothing is gained (measured); one is buffered. */
export const maxChunkBytes = 1_048_576;

export const digestBytes = 32;

/** Type byte, u32 length. */
const prefixBytes = 5;

export const recordTypes = { file: 1, chunk: 2, endOfFile: 3, end: 4 } as const;

export type RecordType = keyof typeof recordTypes;

export interface StreamOptions {
  /**
   * Longest time without a whole record getting through, ms. Default 60,000: at 1 MiB a record,
   * a link slower than 18 kB/s counts as broken.
   */
  stallTimeoutMs?: number;
}

export const defaultStallTimeoutMs = 60_000;

/** Sends records; one per stream. */
export interface RecordWriter {
  /** Sends a record with a digest of its own. */
  control(type: Exclude<RecordType, "chunk">, payload: Buffer): Promise<void>;
  /** Sends content, cut into chunks; waits until the stream takes more. */
  chunks(bytes: Buffer, content: ContentHash): Promise<void>;
}

export function createRecordWriter(stream: Writable, options: StreamOptions): RecordWriter {
  const wait = {
    timeoutMs: options.stallTimeoutMs ?? defaultStallTimeoutMs,
    what: "sending a record",
  };
  return {
    control: (type, payload) => {
      const prefix = encodePrefix(type, payload.length);
      return writeBytes(stream, [prefix, payload, controlDigest(prefix, payload)], wait);
    },
    async chunks(bytes, content) {
      for (let offset = 0; offset < bytes.length; offset += maxChunkBytes) {
        const chunk = bytes.subarray(offset, offset + maxChunkBytes);
        content.update(chunk);
        const parts = [encodePrefix("chunk", chunk.length), chunk, content.soFar()];
        await writeBytes(stream, parts, wait);
      }
    },
  };
}

export interface VerifiedRecord {
  type: RecordType;
  payload: Buffer;
}

/** Reads the next record and verifies it; a chunk is added to `content`. */
export type ReadRecord = (content: ContentHash) => Promise<VerifiedRecord>;

/**
 * Reads records from a stream.
 * @returns a function that throws ERR_FRAME_INVALID for a malformed record or a wrong digest,
 *   ERR_TRANSFER_SHORT when the stream ends, ERR_DEADLINE when it stalls
 */
export function createRecordReader(stream: Readable, options: StreamOptions): ReadRecord {
  const wait = {
    timeoutMs: options.stallTimeoutMs ?? defaultStallTimeoutMs,
    what: "receiving a record",
  };
  return async (content) => {
    const prefix = await readBytes(stream, prefixBytes, wait);
    const type = decodeType(prefix[0]);
    const length = prefix.readUInt32BE(1);
    if (length > maxChunkBytes) throw invalid(`a ${type} record has ${length} bytes`);
    if (type === "chunk" && length === 0) throw invalid("a chunk is empty");
    const body = await readBytes(stream, length + digestBytes, wait);
    const payload = body.subarray(0, length);
    const digest = body.subarray(length);
    if (type === "chunk") content.update(payload);
    const expected = type === "chunk" ? content.soFar() : controlDigest(prefix, payload);
    if (!digest.equals(expected)) {
      throw invalid(`the digest of a ${type} record of ${length} bytes is wrong`);
    }
    return { type, payload };
  };
}

/** The running digest and size of one file or byte stream. */
export interface ContentHash {
  readonly bytes: number;
  update(chunk: Uint8Array): void;
  soFar(): Buffer;
}

export function createContentHash(): ContentHash {
  const hash: Hash = createHash("sha256");
  let bytes = 0;
  return {
    get bytes() {
      return bytes;
    },
    update(chunk) {
      hash.update(chunk);
      bytes += chunk.length;
    },
    soFar: () => hash.copy().digest(),
  };
}

/** Payload of the record that ends a content: its size (u64) and its digest. */
export function encodeTotals(content: ContentHash): Buffer {
  const payload = Buffer.alloc(8 + digestBytes);
  payload.writeBigUInt64BE(BigInt(content.bytes));
  content.soFar().copy(payload, 8);
  return payload;
}

/**
 * Compares what was received with what the sender says it sent.
 * @throws ERR_MANIFEST_MISMATCH
 */
export function checkTotals(payload: Buffer, content: ContentHash, what: string): void {
  if (payload.equals(encodeTotals(content))) return;
  throw new UmsError(
    "ERR_MANIFEST_MISMATCH",
    `${what}: the ${content.bytes} bytes received are not those that were sent`,
  );
}

/** An ERR_FRAME_INVALID for a record out of place. */
export function unexpected(type: RecordType, where: string): UmsError {
  return invalid(`a ${type} record ${where}`);
}

function controlDigest(prefix: Buffer, payload: Buffer): Buffer {
  return createHash("sha256").update(prefix).update(payload).digest();
}

function encodePrefix(type: RecordType, length: number): Buffer {
  const prefix = Buffer.alloc(prefixBytes);
  prefix.writeUInt8(recordTypes[type]);
  prefix.writeUInt32BE(length, 1);
  return prefix;
}

function decodeType(value: number | undefined): RecordType {
  for (const [type, number] of Object.entries(recordTypes)) {
    if (number === value) return type as RecordType;
  }
  throw invalid(`type ${value} is unknown`);
}

function invalid(reason: string): UmsError {
  return new UmsError("ERR_FRAME_INVALID", `malformed record: ${reason}`);
}
