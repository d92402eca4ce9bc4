/**
 * CRIU's image files: magic numbers, then entries, each a 32-bit length and a protobuf message
 * (criu/include/magic.h, criu/protobuf.c, images/*.proto of CRIU 4.2.1).
 */
import { UmsError } from "../errors.js";
import { type Fields, readFields } from "./protobuf.js";

/** Kinds whose content UMS reads, with their magic number. */
export const imageMagic = {
  inventory: 0x58313116,
  pstree: 0x50273030,
  core: 0x55053847,
  ids: 0x54432030,
  seccomp: 0x64413049,
  mountpoints: 0x55563928,
  netns: 0x55933752,
  files: 0x56303138,
  "ghost-file": 0x52583605,
} as const;

export type ReadableKind = keyof typeof imageMagic;

/** Begins every image of version 1.1 but the inventory. */
export const commonMagic = 0x54564319;

/**
 * Entries of an image. A ghost file has content of its own behind the first.
 * @throws ERR_CHECKPOINT_UNSAFE when the file is not of this kind or is cut off
 */
export function readImage(kind: ReadableKind, image: Buffer): Fields[] {
  let offset = 0;
  const next = (): number => {
    if (offset + 4 > image.length) throw notAnImage(kind);
    offset += 4;
    return image.readUInt32LE(offset - 4);
  };
  if (kind !== "inventory" && next() !== commonMagic) throw notAnImage(kind);
  if (next() !== imageMagic[kind]) throw notAnImage(kind);
  const entries: Fields[] = [];
  while (offset < image.length) {
    const bytes = next();
    if (offset + bytes > image.length) throw notAnImage(kind);
    entries.push(readFields(image.subarray(offset, offset + bytes)));
    offset += bytes;
    if (kind === "ghost-file") break;
  }
  return entries;
}

/** The entry of an image that has exactly one. @throws ERR_CHECKPOINT_UNSAFE */
export function readSingle(kind: ReadableKind, image: Buffer): Fields {
  const [entry, ...rest] = readImage(kind, image);
  if (entry === undefined || rest.length > 0) throw notAnImage(kind);
  return entry;
}

function notAnImage(kind: string): UmsError {
  return new UmsError("ERR_CHECKPOINT_UNSAFE", `the checkpoint's ${kind} image is malformed`);
}
