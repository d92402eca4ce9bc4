/**
 * Keeps periodic timerfds alive over a checkpoint.
 *
 * A timerfd with an interval that expires stays expired until it is read, and the kernel then says
 * of its next expiration: none (fs/timerfd.c). A frozen process reads nothing, so a timer whose
 * interval is shorter than the time from the freeze to the dump is always dumped like that, and
 * CRIU 4.2.1 restores it disarmed (criu/timerfd.c): it never ticks again, measured with 20 ms. It
 * gets 1 ns to its next expiration instead. Can go when CRIU arms such timers itself.
 */
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { isNotFound } from "../lib/files.js";

/** Of CRIU's images/fdinfo.proto and timerfd.proto. */
const timerfdField = 12;
const field = { valueSeconds: 7, valueNanoseconds: 8, intervalSeconds: 9, intervalNanoseconds: 10 };

/** Two magic numbers begin the file, a 32-bit length each entry. */
const headerBytes = 8;
const lengthBytes = 4;

/** Rewrites `files.img` of a checkpoint's images directory where it has such timers. */
export async function rearmTimerfds(imagesDir: string): Promise<void> {
  const path = join(imagesDir, "files.img");
  try {
    const image = await readFile(path);
    if (rearmIn(image) > 0) await writeFile(path, image);
  } catch (error) {
    // A service without any file has no such image.
    if (!isNotFound(error)) throw error;
  }
}

/** Changes the image in place. @returns how many timers were armed */
export function rearmIn(image: Buffer): number {
  let armed = 0;
  let offset = headerBytes;
  while (offset + lengthBytes <= image.length) {
    const start = offset + lengthBytes;
    offset = start + image.readUInt32LE(offset);
    for (const { number, bytes } of fieldsOf(image.subarray(start, offset))) {
      if (number === timerfdField && bytes !== undefined) armed += rearm(bytes);
    }
  }
  return armed;
}

function rearm(timer: Buffer): number {
  const fields = new Map([...fieldsOf(timer)].map((entry) => [entry.number, entry]));
  const isZero = (number: number) => fields.get(number)?.value === 0n;
  const isPeriodic = !isZero(field.intervalSeconds) || !isZero(field.intervalNanoseconds);
  const next = fields.get(field.valueNanoseconds);
  if (!isPeriodic || next?.value !== 0n || !isZero(field.valueSeconds)) return 0;
  // A zero and a one take one byte each.
  timer[next.end - 1] = 1;
  return 1;
}

interface Field {
  number: number;
  /** Of a varint field; 0 for others. */
  value: bigint;
  /** Of a length-delimited field. */
  bytes: Buffer | undefined;
  /** Offset behind it. */
  end: number;
}

/** https://protobuf.dev/programming-guides/encoding/ */
function* fieldsOf(message: Buffer): Generator<Field> {
  let offset = 0;
  while (offset < message.length) {
    const tag = readVarint(message, offset);
    const number = Number(tag.value >> 3n);
    switch (Number(tag.value & 7n)) {
      case 0: {
        const { value, end } = readVarint(message, tag.end);
        yield { number, value, bytes: undefined, end };
        offset = end;
        break;
      }
      case 2: {
        const length = readVarint(message, tag.end);
        offset = length.end + Number(length.value);
        yield { number, value: 0n, bytes: message.subarray(length.end, offset), end: offset };
        break;
      }
      default:
        // Fixed 32 (5) or 64 bits.
        offset = tag.end + ((tag.value & 7n) === 5n ? 4 : 8);
    }
  }
}

function readVarint(bytes: Buffer, start: number): { value: bigint; end: number } {
  let value = 0n;
  let end = start;
  for (let shift = 0n; ; shift += 7n) {
    const byte = bytes.readUInt8(end);
    end += 1;
    value |= BigInt(byte & 0x7f) << shift;
    if (byte < 0x80) return { value, end };
  }
}
