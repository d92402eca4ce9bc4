/**
 * The content of a tmpfs of the service, which CRIU unpacks with tar(1) as root: names, links and
 * devices in it are looked at before. Only the formats that GNU tar writes by itself are known, so
 * that tar cannot read another archive than the one that was looked at.
 */
import { createReadStream } from "node:fs";
import { pipeline } from "node:stream/promises";
import { createGunzip } from "node:zlib";
import { unsafe } from "./unsafe.js";

const blockBytes = 512;
/** PATH_MAX, and what one extended header may hold. */
const maxNameBytes = 4_096;
const maxExtendedBytes = 1024 * 1024;

export interface ArchiveEntry {
  /** `0` file, `1` hard link, `2` symbolic link, `3` character device, `4` block device ... */
  type: string;
  name: string;
  linkName: string;
  /** `major:minor` of a device. */
  device: string;
}

/** Reads a gzipped archive and calls `check` for each entry. @throws ERR_CHECKPOINT_UNSAFE */
export async function walkArchive(
  path: string,
  check: (entry: ArchiveEntry) => void,
): Promise<void> {
  const walk = createWalk(check);
  try {
    await pipeline(
      createReadStream(path),
      createGunzip(),
      async (chunks: AsyncIterable<Buffer>) => {
        for await (const chunk of chunks) walk.push(chunk);
      },
    );
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code?.startsWith("Z_") !== true) throw error;
    throw unsafe("the archive of a tmpfs is no gzip file");
  }
  walk.end();
}

/** The walk without the compression; fed with pieces of any size. */
export function createWalk(check: (entry: ArchiveEntry) => void) {
  let pending: Buffer = Buffer.alloc(0);
  /** Content still to pass over, or to gather when `extended` says for what. */
  let skipBytes = 0;
  let extended: { type: string; bytes: number } | undefined;
  let hasSparseMap = false;
  let overrides: { name?: string; linkName?: string; bytes?: number } = {};

  const header = (block: Buffer): void => {
    if (block.every((byte) => byte === 0)) return;
    const entry = parseHeader(block);
    const padded = Math.ceil((overrides.bytes ?? entry.bytes) / blockBytes) * blockBytes;
    if (["x", "L", "K"].includes(entry.type)) {
      if (entry.bytes > maxExtendedBytes) throw unsafe("a name in a tmpfs is too long");
      extended = { type: entry.type, bytes: entry.bytes };
      skipBytes = Math.ceil(entry.bytes / blockBytes) * blockBytes;
      return;
    }
    if (!"\x000123456S".includes(entry.type)) {
      throw unsafe(`an entry of an unknown kind is in a tmpfs: ${JSON.stringify(entry.type)}`);
    }
    // Only files have content, whatever the size of the others says.
    skipBytes = "\x000S".includes(entry.type) ? padded : 0;
    hasSparseMap = entry.type === "S" && block[482] === 1;
    check({
      type: entry.type,
      name: overrides.name ?? entry.name,
      linkName: overrides.linkName ?? entry.linkName,
      device: entry.device,
    });
    overrides = {};
  };

  return {
    push(chunk: Buffer): void {
      pending = pending.length === 0 ? chunk : Buffer.concat([pending, chunk]);
      for (;;) {
        if (extended !== undefined) {
          if (pending.length < skipBytes) return;
          overrides = { ...overrides, ...readExtended(extended.type, pending, extended.bytes) };
          pending = pending.subarray(skipBytes);
          skipBytes = 0;
          extended = undefined;
        } else if (hasSparseMap) {
          if (pending.length < blockBytes) return;
          hasSparseMap = pending[504] === 1;
          pending = pending.subarray(blockBytes);
        } else if (skipBytes > 0) {
          const skipped = Math.min(skipBytes, pending.length);
          skipBytes -= skipped;
          pending = pending.subarray(skipped);
          if (skipBytes > 0) return;
        } else {
          if (pending.length < blockBytes) return;
          header(pending.subarray(0, blockBytes));
          pending = pending.subarray(blockBytes);
        }
      }
    },
    end(): void {
      if (pending.length > 0 || skipBytes > 0) throw unsafe("the archive of a tmpfs is cut off");
    },
  };
}

/** Fields of a ustar header, https://www.gnu.org/software/tar/manual/html_node/Standard.html */
function parseHeader(block: Buffer) {
  const sum = block.reduce((total, byte, at) => total + (at >= 148 && at < 156 ? 32 : byte), 0);
  if (octal(block, 148, 8) !== sum) throw unsafe("the archive of a tmpfs is malformed");
  const isPosix = block.toString("latin1", 257, 263) === "ustar\0";
  const prefix = isPosix ? text(block, 345, 155) : "";
  const name = text(block, 0, 100);
  return {
    name: prefix === "" ? name : `${prefix}/${name}`,
    bytes: octal(block, 124, 12),
    type: block.toString("latin1", 156, 157),
    linkName: text(block, 157, 100),
    device: `${octal(block, 329, 8)}:${octal(block, 337, 8)}`,
  };
}

function text(block: Buffer, start: number, bytes: number): string {
  const field = block.subarray(start, start + bytes);
  const end = field.indexOf(0);
  return field.toString("latin1", 0, end === -1 ? bytes : end);
}

/** Octal digits, or big-endian with the first bit set (GNU tar, for large files). */
function octal(block: Buffer, start: number, bytes: number): number {
  const first = block[start] ?? 0;
  if (first === 0x80) return Number(block.readBigUInt64BE(start + bytes - 8));
  const digits = text(block, start, bytes).trim();
  if (!/^[0-7]*$/.test(digits)) throw unsafe("the archive of a tmpfs is malformed");
  return digits === "" ? 0 : Number.parseInt(digits, 8);
}

function readExtended(type: string, content: Buffer, bytes: number) {
  const value = content.toString("latin1", 0, bytes);
  if (type === "L") return { name: cString(value) };
  if (type === "K") return { linkName: cString(value) };
  return readPax(value);
}

function cString(value: string): string {
  const end = value.indexOf("\0");
  return end === -1 ? value : value.slice(0, end);
}

/** `LENGTH KEY=VALUE\n`, pax(1). Sparse files in this format carry their names elsewhere. */
function readPax(content: string): { name?: string; linkName?: string; bytes?: number } {
  const found: { name?: string; linkName?: string; bytes?: number } = {};
  for (let rest = content; rest !== ""; ) {
    const length = Number(/^(\d+) /.exec(rest)?.[1] ?? 0);
    const record = /^\d+ ([^=]+)=([\s\S]*)\n$/.exec(rest.slice(0, length));
    if (record === null) throw unsafe("the archive of a tmpfs is malformed");
    const [, key = "", value = ""] = record;
    if (key.startsWith("GNU.")) throw unsafe(`the archive of a tmpfs has the attribute ${key}`);
    if (key === "path") found.name = value;
    if (key === "linkpath") found.linkName = value;
    if (key === "size") found.bytes = Number(value);
    rest = rest.slice(length);
  }
  return found;
}

/** runc's own nodes: null, zero, full, random, urandom, tty, console, ptmx. */
const defaultDevices = ["1:3", "1:5", "1:7", "1:8", "1:9", "5:0", "5:1", "5:2"];

/**
 * The rule for the entries of one archive: names stay inside and lead through no link of the
 * archive's own, and there are no devices but granted ones. Where a symbolic link points does not
 * matter, then: the service follows it as before.
 * @param devices allowed beside runc's own ones; undefined: none at all are
 */
export function entryRule(devices: readonly string[] | undefined): (entry: ArchiveEntry) => void {
  const links = new Set<string>();
  const allowed = devices === undefined ? [] : [...defaultDevices, ...devices];
  return (entry) => {
    for (const name of entry.type === "1" ? [entry.name, entry.linkName] : [entry.name]) {
      checkName(name, links);
    }
    if (entry.type === "2") links.add(plainName(entry.name));
    if (entry.type === "4") throw unsafe(`a block device is in a tmpfs: ${entry.name}`);
    if (entry.type === "3" && !allowed.includes(entry.device)) {
      throw unsafe(`the device ${entry.device} is in a tmpfs: ${entry.name}`);
    }
  };
}

function checkName(name: string, links: ReadonlySet<string>): void {
  const isBad = name.startsWith("/") || name.includes("\0") || name.length > maxNameBytes;
  const parts = plainName(name).split("/");
  const parents = parts.slice(0, -1).map((_, index) => parts.slice(0, index + 1).join("/"));
  if (isBad || parts.includes("..") || parents.some((parent) => links.has(parent))) {
    throw unsafe(`a name in a tmpfs leads out of it: ${JSON.stringify(name.slice(0, 200))}`);
  }
}

function plainName(name: string): string {
  return name
    .split("/")
    .filter((part) => part !== "" && part !== ".")
    .join("/");
}
