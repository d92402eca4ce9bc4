/**
 * The journal: what this side has decided, kept over every crash.
 *
 * Append-only file of records: length (u32 LE, bytes of the JSON), CRC-32C of the JSON (u32 LE),
 * JSON. A torn tail (crash while appending) is cut at opening; a bad record with more behind it
 * means the disk lies, and no copy may be started (ERR_JOURNAL_CORRUPT, exit 78).
 *
 * Invariants:
 * - one writer: guarded by an abstract unix socket, which the kernel frees with the process;
 * - a record is on disk (fdatasync) before `append` returns;
 * - the file is zero-filled ahead, so that a full disk cannot block the record that decides.
 */
import { type FileHandle, mkdir, open } from "node:fs/promises";
import { createServer, type Server } from "node:net";
import { dirname } from "node:path";
import { UmsError } from "../errors.js";
import { crc32c } from "../lib/crc32c.js";
import { syncDirectory } from "../lib/files.js";
import type { DestinationState } from "./destination-state.js";
import type { SourceState } from "./source-state.js";

/** Who decides at this point of the service's life. `data` is for recovery, e.g. the peer. */
export type JournalEntry = { data?: JournalData } & (
  | { role: "source"; state: SourceState }
  | { role: "destination"; state: DestinationState }
);

/** What recovery needs besides the state. */
export interface JournalData {
  /** The other side's Migration Interface, `host:port`. */
  peer?: string;
  /** The other side's identity, as its certificate has it. */
  peerName?: string;
  /** How clients reach the service at the other side, in its own words. */
  publicEndpoint?: string;
  /** Container id of the nested service on this side. */
  containerId?: string;
  /** The token this migration was admitted by, which is used up for ever. */
  tokenId?: string;
}

export type JournalRecord = JournalEntry & { seq: number; at: string };

export interface Journal {
  /** The newest record, or undefined when nothing was ever decided. */
  readonly last: JournalRecord | undefined;
  /** The newest record of one role: a late question about it must still find its answer. */
  lastOf(role: JournalRecord["role"]): JournalRecord | undefined;
  /** The newest record of one role in one migration, however long ago. */
  find(role: JournalRecord["role"], migrationId: string): JournalRecord | undefined;
  /** The migration a token was used for; undefined: for none. */
  usedFor(tokenId: string): string | undefined;
  /** Makes a record durable. @throws ERR_NO_ROOM when the disk is full beyond the reserve. */
  append(entry: JournalEntry): Promise<void>;
  close(): Promise<void>;
}

const headerBytes = 8;
const maxRecordBytes = 64 * 1024;
/** A reason is for people, and comes from the peer too: it must not make a record unreadable. */
const maxReasonChars = 2_000;
/** Zero-filled room kept ahead of the write position. */
const reserveBytes = 64 * 1024;

/**
 * Opens or makes the journal and reads it.
 * @throws ERR_JOURNAL_CORRUPT for a bad record that is not the torn tail
 * @throws ERR_MIGRATION_IN_PROGRESS when another process has it open
 */
export async function openJournal(path: string): Promise<Journal> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  const lock = await takeLock(path);
  const file = await open(path, "a+", 0o600).then(async (created) => {
    await created.close();
    await syncDirectory(dirname(path));
    return open(path, "r+");
  });
  const content = await file.readFile();
  const { records, endBytes } = parseJournal(content);
  // What a torn append left must not be mistaken for a record after the next, shorter one.
  const torn = content.subarray(endBytes).some((byte) => byte !== 0);
  if (torn) await file.write(Buffer.alloc(content.length - endBytes), 0, undefined, endBytes);
  return new FileJournal(file, lock, records, endBytes, content.length);
}

/** Splits the file's content into records; exported for tests. @throws ERR_JOURNAL_CORRUPT */
export function parseJournal(content: Buffer): { records: JournalRecord[]; endBytes: number } {
  const records: JournalRecord[] = [];
  let offset = 0;
  while (offset + headerBytes <= content.length) {
    const lengthBytes = content.readUInt32LE(offset);
    const start = offset + headerBytes;
    const body = content.subarray(start, start + lengthBytes);
    // Length 0 is the reserve, the usual end; but a zeroed sector amid records looks the same.
    const intact =
      lengthBytes > 0 &&
      lengthBytes <= maxRecordBytes &&
      body.length === lengthBytes &&
      crc32c(body) === content.readUInt32LE(offset + 4);
    if (!intact) {
      if (hasRecordBehind(content, offset + 1)) throw corrupt(records.length, offset);
      break;
    }
    records.push(JSON.parse(body.toString("utf8")) as JournalRecord);
    offset = start + lengthBytes;
  }
  return { records, endBytes: offset };
}

/** A torn append is the last thing in the file; any whole record behind it means damage. */
function hasRecordBehind(content: Buffer, from: number): boolean {
  for (let offset = from; offset + headerBytes < content.length; offset += 1) {
    const lengthBytes = content.readUInt32LE(offset);
    if (lengthBytes === 0 || lengthBytes > maxRecordBytes) continue;
    const start = offset + headerBytes;
    if (content[start] !== 0x7b || start + lengthBytes > content.length) continue;
    const body = content.subarray(start, start + lengthBytes);
    if (crc32c(body) === content.readUInt32LE(offset + 4)) return true;
  }
  return false;
}

function corrupt(index: number, offset: number): UmsError {
  return new UmsError(
    "ERR_JOURNAL_CORRUPT",
    `record ${index} of the journal is damaged at byte ${offset}`,
    { hint: "no copy was started; compare with the other side's `ums status` before repairing" },
  );
}

async function takeLock(path: string): Promise<Server> {
  const server = createServer();
  await new Promise<void>((resolve, reject) => {
    server.once("error", (cause) =>
      reject(
        new UmsError("ERR_MIGRATION_IN_PROGRESS", `another supervisor has ${path} open`, { cause }),
      ),
    );
    server.listen({ path: `\0ums-journal:${path}` }, resolve);
  });
  return server;
}

function shortened(entry: JournalEntry): JournalEntry {
  const reason = entry.state.reason?.slice(0, maxReasonChars);
  if (reason === entry.state.reason) return entry;
  return { ...entry, state: { ...entry.state, reason } } as JournalEntry;
}

class FileJournal implements Journal {
  last: JournalRecord | undefined;
  private appending: Promise<void> = Promise.resolve();
  private readonly newest = new Map<string, JournalRecord>();
  /** Token id -> migration id. */
  private readonly tokens = new Map<string, string>();

  constructor(
    private readonly file: FileHandle,
    private readonly lock: Server,
    records: JournalRecord[],
    private endBytes: number,
    private allocatedBytes: number,
  ) {
    for (const record of records) this.remember(record);
  }

  lastOf(role: JournalRecord["role"]): JournalRecord | undefined {
    return this.newest.get(role);
  }

  find(role: JournalRecord["role"], migrationId: string): JournalRecord | undefined {
    return this.newest.get(`${role} ${migrationId}`);
  }

  usedFor(tokenId: string): string | undefined {
    return this.tokens.get(tokenId);
  }

  private remember(record: JournalRecord): void {
    this.last = record;
    this.newest.set(record.role, record);
    const { migrationId } = record.state;
    if (migrationId === undefined) return;
    this.newest.set(`${record.role} ${migrationId}`, record);
    const tokenId = record.data?.tokenId;
    if (tokenId !== undefined) this.tokens.set(tokenId, migrationId);
  }

  append(entry: JournalEntry): Promise<void> {
    const next = this.appending.then(() => this.write(entry));
    // The queue goes on after a failed append; the caller of that append sees the error.
    this.appending = next.catch(() => undefined);
    return next;
  }

  async close(): Promise<void> {
    await this.appending;
    await this.file.close();
    await new Promise((resolve) => this.lock.close(resolve));
  }

  private async write(entry: JournalEntry): Promise<void> {
    const record: JournalRecord = {
      ...shortened(entry),
      seq: (this.last?.seq ?? 0) + 1,
      at: new Date().toISOString(),
    };
    const body = Buffer.from(JSON.stringify(record));
    const frame = Buffer.alloc(headerBytes + body.length);
    frame.writeUInt32LE(body.length, 0);
    frame.writeUInt32LE(crc32c(body), 4);
    body.copy(frame, headerBytes);
    try {
      await this.writeAll(frame, this.endBytes);
      await this.file.datasync();
    } catch (error) {
      throw UmsError.from(error);
    }
    this.endBytes += frame.length;
    this.remember(record);
    await this.reserve();
  }

  /** On a nearly full disk the kernel writes a part and reports only that (man 2 write). */
  private async writeAll(bytes: Buffer, position: number): Promise<void> {
    for (let done = 0; done < bytes.length; ) {
      const rest = bytes.length - done;
      const { bytesWritten } = await this.file.write(bytes, done, rest, position + done);
      done += bytesWritten;
    }
  }

  /** Keeps zeroed, written (not sparse) room ahead. */
  private async reserve(): Promise<void> {
    if (this.allocatedBytes - this.endBytes >= reserveBytes / 2) return;
    const start = Math.max(this.allocatedBytes, this.endBytes);
    try {
      await this.writeAll(Buffer.alloc(reserveBytes), start);
      await this.file.datasync();
      this.allocatedBytes = start + reserveBytes;
    } catch {
      // A full disk or a broken one; the record before is safe, and the next append will say so.
    }
  }
}
