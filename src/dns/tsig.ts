/**
 * TSIG, the signature of a DNS message by a shared key (RFC 8945), for one request and its one
 * answer.
 */
import { createHmac, timingSafeEqual } from "node:crypto";
import { UmsError } from "../errors.js";
import { classes, encodeName, encodeRecord, lastAdditional, readName, types } from "./wire.js";

/** What RFC 8945 section 6 recommends, by the name of the hash in Node. */
const hashes = {
  "hmac-sha256": "sha256",
  "hmac-sha384": "sha384",
  "hmac-sha512": "sha512",
} as const;

export type TsigAlgorithm = keyof typeof hashes;
export const tsigAlgorithms = Object.keys(hashes) as TsigAlgorithm[];

export interface TsigKey {
  name: string;
  algorithm: TsigAlgorithm;
  secret: Buffer;
}

/** Seconds the two clocks may differ; recommended by RFC 8945 section 10. */
const fudgeSeconds = 300;
/** Extended error codes, RFC 8945 section 3. */
const tsigErrors: Record<number, string> = {
  16: "BADSIG",
  17: "BADKEY",
  18: "BADTIME",
  22: "BADTRUNC",
};
const noError = 0;
const badTime = 18;

export interface Signed {
  message: Buffer;
  /** The answer's signature covers it. */
  mac: Buffer;
}

/** Appends the signature to a whole message. @param nowSeconds since 1970 */
export function sign(message: Buffer, key: TsigKey, nowSeconds: number): Signed {
  const variables = { timeSigned: nowSeconds, fudge: fudgeSeconds, error: 0, other: noBytes };
  const mac = digest(key, [message, encodeVariables(key, variables)]);
  const fixed = Buffer.alloc(10);
  fixed.writeUIntBE(nowSeconds, 0, 6);
  fixed.writeUInt16BE(fudgeSeconds, 6);
  fixed.writeUInt16BE(mac.length, 8);
  const end = Buffer.alloc(6);
  end.writeUInt16BE(message.readUInt16BE(0), 0);
  const data = Buffer.concat([encodeName(key.algorithm), fixed, mac, end]);
  const record = encodeRecord(key.name, types.TSIG, classes.ANY, 0, data);
  return { message: withAdditional(Buffer.concat([message, record]), 1), mac };
}

/**
 * Checks the signature of an answer and takes it off.
 * @param requestMac of the request that is answered; undefined when `message` is itself a request
 * @throws ERR_DNS_REFUSED with `details.reason`: what the server complains of (`BADKEY`, `BADSIG`,
 *   `BADTIME`), or what is wrong with its answer (`UNSIGNED`, `FORGED`, `STALE`)
 * @throws RangeError when it is not a DNS message
 */
export function verify(
  message: Buffer,
  key: TsigKey,
  requestMac: Buffer | undefined,
  nowSeconds: number,
): Buffer {
  const last = lastAdditional(message);
  if (last?.type !== types.TSIG) {
    throw refused("UNSIGNED", "the name server's answer is not signed", key);
  }
  const tsig = decodeData(last.data);
  const complaint = tsigErrors[tsig.error];
  if (complaint !== undefined && tsig.error !== badTime) {
    // Such an answer carries no signature, as there is no key that both know (section 5.3.2).
    throw refused(complaint, `the name server refuses the key ${key.name} (${complaint})`, key);
  }
  const bare = withAdditional(Buffer.from(message.subarray(0, last.offset)), -1);
  bare.writeUInt16BE(tsig.originalId, 0);
  const prefix = requestMac === undefined ? [] : [lengthOf(requestMac), requestMac];
  const expected = digest(key, [...prefix, bare, encodeVariables(key, tsig)]);
  // A shortened signature is legal but nothing we ask for, hence not taken. The key's name is among
  // what is signed, so that of the record, which may be compressed, is not compared.
  const isOurs = tsig.algorithm === key.algorithm && tsig.mac.length === expected.length;
  if (!isOurs || !timingSafeEqual(tsig.mac, expected)) {
    throw refused("FORGED", "the signature of the name server's answer is wrong", key);
  }
  if (tsig.error === badTime) {
    const theirs = tsig.other.length === 6 ? tsig.other.readUIntBE(0, 6) : tsig.timeSigned;
    const difference = `${Math.abs(theirs - nowSeconds)} s`;
    throw refused("BADTIME", `our clock and the name server's differ by ${difference}`, key);
  }
  if (tsig.error !== noError) {
    throw refused(`TSIG error ${tsig.error}`, "the name server refuses the signature", key);
  }
  if (Math.abs(tsig.timeSigned - nowSeconds) > tsig.fudge) {
    throw refused("STALE", "the name server's answer was signed at another time", key);
  }
  return bare;
}

interface Variables {
  timeSigned: number;
  fudge: number;
  error: number;
  other: Buffer;
}

interface TsigData extends Variables {
  algorithm: string;
  mac: Buffer;
  originalId: number;
}

const noBytes = Buffer.alloc(0);

/** What is signed beside the message (section 4.3.3). */
function encodeVariables(key: TsigKey, { timeSigned, fudge, error, other }: Variables): Buffer {
  const classAndTtl = Buffer.alloc(6);
  classAndTtl.writeUInt16BE(classes.ANY, 0);
  const times = Buffer.alloc(12);
  times.writeUIntBE(timeSigned, 0, 6);
  times.writeUInt16BE(fudge, 6);
  times.writeUInt16BE(error, 8);
  times.writeUInt16BE(other.length, 10);
  return Buffer.concat([
    encodeName(key.name),
    classAndTtl,
    encodeName(key.algorithm),
    times,
    other,
  ]);
}

/** Section 4.2. @throws RangeError */
function decodeData(data: Buffer): TsigData {
  const { name: algorithm, end } = readName(data, 0);
  const macBytes = data.readUInt16BE(end + 8);
  const afterMac = end + 10 + macBytes;
  const otherBytes = data.readUInt16BE(afterMac + 4);
  if (afterMac + 6 + otherBytes !== data.length)
    throw new RangeError("a signature of wrong length");
  return {
    algorithm,
    timeSigned: data.readUIntBE(end, 6),
    fudge: data.readUInt16BE(end + 6),
    mac: data.subarray(end + 10, afterMac),
    originalId: data.readUInt16BE(afterMac),
    error: data.readUInt16BE(afterMac + 2),
    other: data.subarray(afterMac + 6),
  };
}

function digest(key: TsigKey, parts: readonly Buffer[]): Buffer {
  const hmac = createHmac(hashes[key.algorithm], key.secret);
  for (const part of parts) hmac.update(part);
  return hmac.digest();
}

/** Adds to the header's count of additional records, in place. */
function withAdditional(message: Buffer, more: number): Buffer {
  message.writeUInt16BE(message.readUInt16BE(10) + more, 10);
  return message;
}

function lengthOf(bytes: Buffer): Buffer {
  const length = Buffer.alloc(2);
  length.writeUInt16BE(bytes.length);
  return length;
}

function refused(reason: string, message: string, key: TsigKey): UmsError {
  const hints: Record<string, string> = {
    BADTIME: "set both machines' clocks",
    STALE: "set both machines' clocks",
    UNSIGNED: "let the name server know the key, and see that nothing in between answers for it",
  };
  return new UmsError("ERR_DNS_REFUSED", message, {
    details: { reason, key: key.name, algorithm: key.algorithm },
    hint: hints[reason] ?? "name, algorithm and secret must be those the name server has",
  });
}
