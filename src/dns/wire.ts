/**
 * The part of the DNS message format that an update needs and dns-packet 5.6 cannot write: the class
 * NONE, and records without data (RFC 2136 sections 2.4 and 2.5). Everything else is dns-packet's.
 */
import packet from "dns-packet";
import { UmsError } from "../errors.js";

export type AddressType = "A" | "AAAA";
export type SetType = AddressType | "TXT";

/** All records of one name and type. No data: there is no such record. */
export interface RecordSet {
  name: string;
  type: SetType;
  /** Addresses, or texts. */
  data: readonly string[];
}

/** Classes, RFC 1035 section 3.2.4 and RFC 2136 section 2.4. */
export const classes = { IN: 1, NONE: 254, ANY: 255 } as const;
export const types = { A: 1, AAAA: 28, TXT: 16, SOA: 6, TSIG: 250 } as const;

/** An update's opcode, in its place in the header's flags (RFC 2136 section 2.2). */
const updateFlags = 5 << 11;
const headerBytes = 12;
const maxLabelBytes = 63;
const maxNameBytes = 255;
/** Of one text within a TXT record. */
const maxTextChars = 255;

/** Lower case, without the dot at the end: names that mean the same are the same text. */
export function canonicalName(name: string): string {
  return name.replace(/\.$/, "").toLowerCase();
}

/** An address as DNS answers show it, so that two spellings of one are the same text. */
export function canonicalAddress(type: AddressType, address: string): string {
  const [answer] = packet.decode(packet.encode({ answers: [record(type, address)] })).answers ?? [];
  return answer !== undefined && "data" in answer ? String(answer.data) : address;
}

/** Uncompressed and in lower case, as signatures want it. @throws ERR_CONFIG_INVALID */
export function encodeName(name: string): Buffer {
  const canonical = canonicalName(name);
  const labels = canonical === "" ? [] : canonical.split(".");
  const parts = labels.map((label) => {
    const bytes = Buffer.from(label, "latin1");
    if (bytes.length === 0 || bytes.length > maxLabelBytes || !/^[\x21-\x7e]+$/.test(label)) {
      throw new UmsError("ERR_CONFIG_INVALID", `"${name}" is not a name that DNS can hold`);
    }
    return Buffer.concat([Buffer.of(bytes.length), bytes]);
  });
  const encoded = Buffer.concat([...parts, Buffer.of(0)]);
  if (encoded.length > maxNameBytes) {
    throw new UmsError("ERR_CONFIG_INVALID", `"${name}" is longer than a DNS name can be`);
  }
  return encoded;
}

/** One resource record (RFC 1035 section 4.1.3). */
export function encodeRecord(
  name: string,
  type: number,
  recordClass: number,
  ttlSeconds: number,
  data: Uint8Array = new Uint8Array(),
): Buffer {
  const fixed = Buffer.alloc(10);
  fixed.writeUInt16BE(type, 0);
  fixed.writeUInt16BE(recordClass, 2);
  fixed.writeUInt32BE(ttlSeconds, 4);
  fixed.writeUInt16BE(data.length, 8);
  return Buffer.concat([encodeName(name), fixed, data]);
}

/** What follows the length in a record of `type`. */
export function encodeData(type: SetType, value: string): Buffer {
  const message = packet.encode({ answers: [record(type, value)] });
  // The root's name is one byte, and ten bytes more come before the data.
  return message.subarray(headerBytes + 1 + 10);
}

function record(type: SetType, value: string): packet.Answer {
  if (type !== "TXT") return { name: ".", type, data: value };
  const texts = value.match(new RegExp(`[\\s\\S]{1,${maxTextChars}}`, "g")) ?? [""];
  return { name: ".", type, data: texts };
}

export interface UpdateMessage {
  id: number;
  zone: string;
  /** Each must be exactly so, or nothing is changed. */
  expected: readonly RecordSet[];
  /** Each becomes exactly so. */
  wanted: readonly RecordSet[];
  ttlSeconds: number;
}

/** An update without its signature (RFC 2136 section 2). */
export function encodeUpdate({ id, zone, expected, wanted, ttlSeconds }: UpdateMessage): Buffer {
  const prerequisites = expected.flatMap(({ name, type, data }) =>
    data.length === 0
      ? [encodeRecord(name, types[type], classes.NONE, 0)]
      : data.map((value) =>
          encodeRecord(name, types[type], classes.IN, 0, encodeData(type, value)),
        ),
  );
  const changes = wanted.flatMap(({ name, type, data }) => [
    encodeRecord(name, types[type], classes.ANY, 0),
    ...data.map((value) =>
      encodeRecord(name, types[type], classes.IN, ttlSeconds, encodeData(type, value)),
    ),
  ]);
  const header = Buffer.alloc(headerBytes);
  header.writeUInt16BE(id, 0);
  header.writeUInt16BE(updateFlags, 2);
  header.writeUInt16BE(1, 4);
  header.writeUInt16BE(prerequisites.length, 6);
  header.writeUInt16BE(changes.length, 8);
  const zoneSection = Buffer.alloc(4);
  zoneSection.writeUInt16BE(types.SOA, 0);
  zoneSection.writeUInt16BE(classes.IN, 2);
  return Buffer.concat([header, encodeName(zone), zoneSection, ...prerequisites, ...changes]);
}

export interface LastRecord {
  /** Where it begins. */
  offset: number;
  type: number;
  data: Buffer;
}

/**
 * The last additional record, where a signature stands; undefined when there is none.
 * @throws RangeError for a message that ends too early, or has something behind its last record
 */
export function lastAdditional(message: Buffer): LastRecord | undefined {
  let offset = headerBytes;
  for (let left = message.readUInt16BE(4); left > 0; left -= 1) {
    offset = skipName(message, offset) + 4;
  }
  const counts = [6, 8, 10].map((at) => message.readUInt16BE(at));
  const total = counts.reduce((sum, count) => sum + count, 0);
  let last: LastRecord | undefined;
  for (let index = 0; index < total; index += 1) {
    const fixed = skipName(message, offset);
    const end = fixed + 10 + message.readUInt16BE(fixed + 8);
    if (end > message.length) throw new RangeError("a record is cut off");
    last = {
      offset,
      type: message.readUInt16BE(fixed),
      data: message.subarray(fixed + 10, end),
    };
    offset = end;
  }
  if (offset !== message.length) throw new RangeError("bytes follow the last record");
  return counts[2] === 0 ? undefined : last;
}

/** Reads a name that is not compressed: those of a signature never are (RFC 8945 section 4.2). */
export function readName(bytes: Buffer, start: number): { name: string; end: number } {
  const labels: string[] = [];
  let offset = start;
  for (;;) {
    const length = bytes.readUInt8(offset);
    if (length === 0) return { name: labels.join(".").toLowerCase(), end: offset + 1 };
    if (length >= 0xc0) throw new RangeError("a compressed name in a signature");
    labels.push(bytes.toString("latin1", offset + 1, offset + 1 + length));
    offset += length + 1;
  }
}

/** Ends at a pointer. @throws RangeError */
function skipName(message: Buffer, start: number): number {
  let offset = start;
  for (;;) {
    const length = message.readUInt8(offset);
    if (length === 0) return offset + 1;
    if (length >= 0xc0) return offset + 2;
    offset += length + 1;
  }
}
