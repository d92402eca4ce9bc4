/**
 * Reads protobuf messages field by field (https://protobuf.dev/programming-guides/encoding/), for
 * what a peer sent: every length is checked, and what could be read in two ways is refused.
 */
import { UmsError } from "../errors.js";

/** A message's fields by number. Scalars are numbers; above 2^53 they are rounded. */
export type Fields = ReadonlyMap<number, readonly (number | Buffer)[]>;

/** @throws ERR_CHECKPOINT_UNSAFE when it is no well-formed message */
export function readFields(message: Buffer): Fields {
  const fields = new Map<number, (number | Buffer)[]>();
  let offset = 0;
  const varint = (): number => {
    let value = 0;
    for (let shift = 0; shift < 70; shift += 7) {
      const byte = message[offset];
      if (byte === undefined) throw malformed("a number is cut off");
      offset += 1;
      value += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) return value;
    }
    throw malformed("a number is too long");
  };
  const take = (bytes: number): Buffer => {
    if (offset + bytes > message.length) throw malformed("a field is cut off");
    offset += bytes;
    return message.subarray(offset - bytes, offset);
  };
  while (offset < message.length) {
    const tag = varint();
    const number = Math.floor(tag / 8);
    const value = readValue(tag % 8, varint, take);
    const values = fields.get(number);
    if (values === undefined) fields.set(number, [value]);
    else values.push(value);
  }
  return fields;
}

function readValue(wireType: number, varint: () => number, take: (bytes: number) => Buffer) {
  switch (wireType) {
    case 0:
      return varint();
    case 1:
      return Number(take(8).readBigUInt64LE());
    case 2:
      return take(varint());
    case 5:
      return take(4).readUInt32LE();
    default:
      throw malformed(`wire type ${wireType}`);
  }
}

/**
 * A scalar of 32 bits; undefined when absent.
 * @throws ERR_CHECKPOINT_UNSAFE when it is there twice, which parsers do not agree about, or larger
 */
export function numberIn(fields: Fields, number: number): number | undefined {
  const value = single(fields, number);
  if (value === undefined) return undefined;
  if (typeof value !== "number" || value > 0xffff_ffff) throw malformed(`field ${number}`);
  return value;
}

/** A string, bytes or message; undefined when absent. @throws ERR_CHECKPOINT_UNSAFE as above */
export function bytesIn(fields: Fields, number: number): Buffer | undefined {
  const value = single(fields, number);
  if (typeof value === "number") throw malformed(`field ${number}`);
  return value;
}

/** @throws ERR_CHECKPOINT_UNSAFE as above, and for what is no UTF-8 or has a NUL */
export function textIn(fields: Fields, number: number): string | undefined {
  const bytes = bytesIn(fields, number);
  if (bytes === undefined) return undefined;
  if (bytes.includes(0)) throw malformed(`field ${number} has a NUL in it`);
  return bytes.toString("latin1");
}

/** The messages of a repeated field. */
export function messagesIn(fields: Fields, number: number): Fields[] {
  return (fields.get(number) ?? []).map((value) => {
    if (typeof value === "number") throw malformed(`field ${number}`);
    return readFields(value);
  });
}

/** The one message of a field; undefined when absent. */
export function messageIn(fields: Fields, number: number): Fields | undefined {
  const bytes = bytesIn(fields, number);
  return bytes === undefined ? undefined : readFields(bytes);
}

/** A repeated scalar of 32 bits, packed or not. */
export function numbersIn(fields: Fields, number: number): number[] {
  const values = fields.get(number) ?? [];
  return values.flatMap((value) => (typeof value === "number" ? [value] : unpack(value)));
}

function unpack(packed: Buffer): number[] {
  const numbers: number[] = [];
  let value = 0;
  let shift = 0;
  for (const byte of packed) {
    value += (byte & 0x7f) * 2 ** shift;
    shift += 7;
    if (byte >= 0x80) continue;
    numbers.push(value);
    value = 0;
    shift = 0;
  }
  if (shift !== 0) throw malformed("a packed field is cut off");
  return numbers;
}

function single(fields: Fields, number: number): number | Buffer | undefined {
  const values = fields.get(number);
  if (values !== undefined && values.length > 1) throw malformed(`field ${number} is there twice`);
  return values?.[0];
}

function malformed(what: string): UmsError {
  return new UmsError("ERR_CHECKPOINT_UNSAFE", `an image of the checkpoint is malformed: ${what}`);
}
