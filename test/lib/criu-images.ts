/** Makes CRIU images, for tests of what reads them. */
import { commonMagic, imageMagic, type ReadableKind } from "../../src/criu/images.js";

/** A message's fields in order; a nested list is a message of its own. */
export type Message = [number, number | string | Buffer | Message][];

export function encode(message: Message): Buffer {
  return Buffer.concat(
    message.map(([number, value]) => {
      if (typeof value === "number") return Buffer.from([...varint(number * 8), ...varint(value)]);
      const bytes = Array.isArray(value) ? encode(value) : Buffer.from(value);
      return Buffer.concat([
        Buffer.from([...varint(number * 8 + 2), ...varint(bytes.length)]),
        bytes,
      ]);
    }),
  );
}

function varint(value: number): number[] {
  return value < 0x80 ? [value] : [(value % 0x80) | 0x80, ...varint(Math.floor(value / 0x80))];
}

export function image(kind: ReadableKind, ...entries: Message[]): Buffer {
  const magic = [...(kind === "inventory" ? [] : [commonMagic]), imageMagic[kind]];
  const parts = entries.map(encode).flatMap((entry) => [word(entry.length), entry]);
  return Buffer.concat([...magic.map(word), ...parts]);
}

function word(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

/** The same message with other values of some fields; undefined takes a field out. */
export function changed(
  message: Message,
  values: Record<number, Message[number][1] | undefined>,
): Message {
  const kept = message.filter(([number]) => !(number in values));
  const added = Object.entries(values).flatMap(
    ([number, value]): Message => (value === undefined ? [] : [[Number(number), value]]),
  );
  return [...kept, ...added];
}
