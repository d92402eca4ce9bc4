/**
 * The opening of a data stream: one frame each way, then raw bytes. See README.md, "Opening".
 */
import type { Readable } from "node:stream";
import { type ErrorCode, errorCatalogue, UmsError } from "../errors.js";
import { readBytes, type Wait } from "./bytes.js";

/** First bytes of every frame; the digit is the protocol's version. */
const magic = Buffer.from("UMS1", "latin1");
const prefixBytes = magic.length + 4;

/** Longest JSON text of a frame, bytes. */
export const maxFrameBytes = 4_096;

/** What a stream is for. */
export interface StreamHeader {
  /** 1 to 64 letters, digits, dashes. */
  migrationId: string;
  /** The reader's choice of handler, e.g. `pages`: lower-case letters, digits, dashes, at most 32. */
  kind: string;
  /** Which of its kind, e.g. a volume's path; at most 1,024 characters, may be empty. */
  name: string;
}

/** The server's reply to a header. */
export type StreamAnswer = { ok: true } | { ok: false; code: ErrorCode; message: string };

/** @throws ERR_FRAME_INVALID when the JSON text is longer than {@link maxFrameBytes} */
export function encodeFrame(value: StreamHeader | StreamAnswer): Buffer {
  const text = Buffer.from(JSON.stringify(value), "utf8");
  if (text.length > maxFrameBytes) throw tooLong(text.length);
  const frame = Buffer.alloc(prefixBytes + text.length);
  magic.copy(frame);
  frame.writeUInt32BE(text.length, magic.length);
  text.copy(frame, prefixBytes);
  return frame;
}

/**
 * Reads the header of a stream; what follows it stays in the stream.
 * @throws ERR_FRAME_INVALID, ERR_TRANSFER_SHORT, ERR_DEADLINE
 */
export async function readHeader(stream: Readable, timeoutMs: number): Promise<StreamHeader> {
  return parseHeader(await readFrame(stream, { timeoutMs, what: "the header of a data stream" }));
}

/**
 * Reads the answer to a header.
 * @throws the refusal, with the code the peer gave, besides what {@link readHeader} throws
 */
export async function readAnswer(stream: Readable, timeoutMs: number): Promise<void> {
  const wait = { timeoutMs, what: "the answer to a data stream's header" };
  const answer = asRecord(await readFrame(stream, wait));
  if (answer["ok"] === true) return;
  const { code, message } = answer;
  if (answer["ok"] !== false || typeof code !== "string" || typeof message !== "string") {
    throw invalid("the answer is neither yes nor no");
  }
  // A newer peer may have codes that we do not know.
  const known = Object.hasOwn(errorCatalogue, code) ? (code as ErrorCode) : "ERR_INTERNAL";
  throw new UmsError(known, message, { details: { refusedByPeer: true, code } });
}

/** The refusal for an error: message cut so that the frame always fits. */
export function refusal(error: UmsError): StreamAnswer {
  return { ok: false, code: error.code, message: error.message.slice(0, 500) };
}

async function readFrame(stream: Readable, wait: Wait): Promise<unknown> {
  const endMs = performance.now() + wait.timeoutMs;
  const prefix = await readBytes(stream, prefixBytes, wait);
  if (!prefix.subarray(0, magic.length).equals(magic)) {
    throw invalid("it does not begin with UMS1: not a data stream, or another version");
  }
  const length = prefix.readUInt32BE(magic.length);
  if (length > maxFrameBytes) throw tooLong(length);
  const timeoutMs = Math.max(1, endMs - performance.now());
  const text = await readBytes(stream, length, { ...wait, timeoutMs });
  try {
    return JSON.parse(text.toString("utf8"));
  } catch (error) {
    throw new UmsError("ERR_FRAME_INVALID", "the frame is not JSON", { cause: error });
  }
}

function parseHeader(value: unknown): StreamHeader {
  const { migrationId, kind, name } = asRecord(value);
  if (typeof migrationId !== "string" || !/^[A-Za-z0-9-]{1,64}$/.test(migrationId)) {
    throw invalid("migrationId is not 1 to 64 letters, digits and dashes");
  }
  if (typeof kind !== "string" || !/^[a-z][a-z0-9-]{0,31}$/.test(kind)) {
    throw invalid("kind is not 1 to 32 lower-case letters, digits and dashes");
  }
  if (typeof name !== "string" || name.length > 1_024 || hasControls(name)) {
    throw invalid("name is not a text of at most 1,024 characters without controls");
  }
  return { migrationId, kind, name };
}

/** Controls would let a peer write lines of its own into our log. */
function hasControls(text: string): boolean {
  return /\p{Cc}/u.test(text);
}

function asRecord(value: unknown): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw invalid("it is not a JSON object");
  }
  return value as Record<string, unknown>;
}

function tooLong(length: number): UmsError {
  return invalid(`it has ${length} bytes, at most ${maxFrameBytes} are allowed`);
}

function invalid(reason: string): UmsError {
  return new UmsError("ERR_FRAME_INVALID", `malformed frame: ${reason}`);
}
