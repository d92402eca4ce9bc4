/** Named files over one verified stream. See README.md, "Records". */
import type { Readable, Writable } from "node:stream";
import { UmsError } from "../errors.js";
import { endWrites, tolerateErrors, writeBytes } from "./bytes.js";
import {
  checkTotals,
  createContentHash,
  createRecordReader,
  createRecordWriter,
  defaultStallTimeoutMs,
  encodeTotals,
  type ReadRecord,
  type RecordWriter,
  type StreamOptions,
  unexpected,
} from "./chunks.js";
import { type Manifest, type ManifestFile, manifestDigest } from "./manifest.js";

/** Longest file name, bytes of UTF-8: Linux's PATH_MAX. */
const maxNameBytes = 4_096;

export interface OutgoingFile {
  /** At most 4,096 bytes; each name once. */
  name: string;
  /** Read to its end. Node's reads of 64 KiB cost the least processor time (README.md). */
  readable: Readable;
}

/**
 * Sends files one after the other, then ends the stream's writable side. They are taken from
 * `files` as they are sent, so a dump's files can be sent while the dump still runs.
 * On any failure the stream is destroyed, so that the receiver cannot mistake the part for the
 * whole.
 * @throws ERR_TRANSFER_SHORT or ERR_PEER_UNREACHABLE when the receiver stops, ERR_DEADLINE when it
 *   stalls, and what reading a file throws
 */
export async function sendFiles(
  stream: Writable,
  files: AsyncIterable<OutgoingFile> | Iterable<OutgoingFile>,
  options: StreamOptions = {},
): Promise<Manifest> {
  const writer = createRecordWriter(stream, options);
  const sent: ManifestFile[] = [];
  tolerateErrors(stream);
  try {
    for await (const file of files) sent.push(await sendFile(writer, file));
    const digest = manifestDigest(sent);
    await writer.control("end", Buffer.from(digest, "hex"));
    const timeoutMs = options.stallTimeoutMs ?? defaultStallTimeoutMs;
    await endWrites(stream, { timeoutMs, what: "sending the last record" });
    return { files: sent, digest };
  } catch (error) {
    const failure = UmsError.from(error);
    stream.destroy(failure);
    throw failure;
  }
}

export interface ReceiveFilesOptions extends StreamOptions {
  /**
   * Opens the place for a file. The name is the sender's word: check it against what is expected
   * here, and throw to refuse.
   */
  openFile: (name: string) => Writable | Promise<Writable>;
  /** Default 10,000. */
  maxFiles?: number;
  /** All files together, bytes. */
  maxBytes: number;
  /** Called with all verified bytes so far, after each chunk. */
  onProgress?: (bytes: number) => void;
}

/**
 * Receives what {@link sendFiles} sends. Only verified bytes are written; a file whose end was not
 * verified is destroyed, not ended. The stream stays open for an answer the other way; on any
 * failure it is destroyed.
 * @throws ERR_FRAME_INVALID for anything malformed or altered, ERR_TRANSFER_SHORT when the stream
 *   ends early, ERR_MANIFEST_MISMATCH when the totals differ, ERR_NO_ROOM beyond the limits,
 *   ERR_DEADLINE when the sender stalls
 */
export async function receiveFiles(
  stream: Readable,
  options: ReceiveFilesOptions,
): Promise<Manifest> {
  const read = createRecordReader(stream, options);
  const received = new Map<string, ManifestFile>();
  const meter = createMeter(options);
  tolerateErrors(stream);
  try {
    for (;;) {
      const { type, payload } = await read(createContentHash());
      if (type === "end") return checkManifest(payload, [...received.values()]);
      if (type !== "file") throw unexpected(type, "outside a file");
      const name = decodeName(payload);
      if (received.has(name)) {
        throw new UmsError("ERR_FRAME_INVALID", `the file "${name}" was sent twice`);
      }
      if (received.size >= (options.maxFiles ?? 10_000)) {
        throw new UmsError("ERR_NO_ROOM", `more than ${received.size} files were sent`);
      }
      received.set(name, await receiveFile(read, name, options, meter));
    }
  } catch (error) {
    const failure = UmsError.from(error);
    stream.destroy(failure);
    throw failure;
  }
}

async function sendFile(
  writer: RecordWriter,
  { name, readable }: OutgoingFile,
): Promise<ManifestFile> {
  const nameBytes = Buffer.from(name, "utf8");
  if (nameBytes.length === 0 || nameBytes.length > maxNameBytes) {
    throw new UmsError("ERR_INTERNAL", `a file name has ${nameBytes.length} bytes`);
  }
  await writer.control("file", nameBytes);
  const content = createContentHash();
  for await (const bytes of readable) await writer.chunks(bytes as Buffer, content);
  await writer.control("endOfFile", encodeTotals(content));
  return { name, bytes: content.bytes, digest: content.soFar().toString("hex") };
}

async function receiveFile(
  read: ReadRecord,
  name: string,
  options: ReceiveFilesOptions,
  meter: (bytes: number) => void,
): Promise<ManifestFile> {
  const wait = {
    timeoutMs: options.stallTimeoutMs ?? defaultStallTimeoutMs,
    what: `writing ${name}`,
  };
  const content = createContentHash();
  const file = await options.openFile(name);
  tolerateErrors(file);
  try {
    for (;;) {
      const { type, payload } = await read(content);
      if (type === "endOfFile") {
        checkTotals(payload, content, name);
        await endWrites(file, wait);
        return { name, bytes: content.bytes, digest: content.soFar().toString("hex") };
      }
      if (type !== "chunk") throw unexpected(type, `inside ${name}`);
      meter(payload.length);
      await writeBytes(file, [payload], wait);
    }
  } catch (error) {
    file.destroy();
    throw error;
  }
}

function createMeter({ maxBytes, onProgress }: ReceiveFilesOptions): (bytes: number) => void {
  let total = 0;
  return (bytes) => {
    total += bytes;
    if (total > maxBytes) {
      throw new UmsError("ERR_NO_ROOM", `more than the allowed ${maxBytes} bytes were sent`);
    }
    onProgress?.(total);
  };
}

function decodeName(payload: Buffer): string {
  const name = payload.toString("utf8");
  // A name that is not UTF-8 would decode to replacement characters, and two names to the same.
  const isExact = Buffer.from(name, "utf8").equals(payload);
  if (payload.length === 0 || payload.length > maxNameBytes || !isExact || name.includes("\0")) {
    throw new UmsError("ERR_FRAME_INVALID", "a file name is empty, too long or not UTF-8");
  }
  return name;
}

function checkManifest(payload: Buffer, files: ManifestFile[]): Manifest {
  const digest = manifestDigest(files);
  if (payload.toString("hex") !== digest) {
    throw new UmsError(
      "ERR_MANIFEST_MISMATCH",
      `the ${files.length} files received are not the list that was sent`,
    );
  }
  return { files, digest };
}
