/** Records as durable files, one each, all of them in memory as well. */
import { mkdir, readdir, readFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { isNotFound, syncDirectory, writeFileDurably } from "../lib/files.js";
import type { Logger } from "../lib/log.js";

export interface Stored {
  /** Becomes the file's name: letters, digits and dashes. */
  id: string;
}

export interface Store<T extends Stored> {
  get(id: string): T | undefined;
  /** In the order in which they were first written here, or of their files' names. */
  all(): T[];
  /** Resolves when it is on disk; writes of one record come in the order of the calls. */
  write(record: T): Promise<void>;
  delete(id: string): Promise<void>;
  /** Files that could not be read at the start; they are kept as `NAME.broken`. */
  readonly broken: readonly string[];
}

const idPattern = /^[A-Za-z0-9-]{1,64}$/;

export function isRecordId(id: string): boolean {
  return idPattern.test(id);
}

/**
 * Reads all records of `directory`. A damaged one is put aside and told, not deleted: the others
 * must go on, and somebody may want to look at it.
 */
export async function openStore<T extends Stored>(
  directory: string,
  log: Logger,
): Promise<Store<T>> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const records = new Map<string, T>();
  const broken: string[] = [];
  for (const file of (await readdir(directory)).sort()) {
    const path = join(directory, file);
    // Of a write that a crash cut short: the record's own file is the old one, and whole.
    if (file.endsWith(".new")) await rm(path);
    if (!file.endsWith(".json")) continue;
    const record = parse<T>(await readFile(path, "utf8"), file.slice(0, -".json".length));
    if (record !== undefined) records.set(record.id, record);
    else {
      await rename(path, `${path}.broken`);
      broken.push(file);
      log.error({ file: `${path}.broken` }, "a record is damaged and was put aside");
    }
  }
  return new FileStore(directory, records, broken);
}

class FileStore<T extends Stored> implements Store<T> {
  private writing = new Map<string, Promise<void>>();

  constructor(
    private readonly directory: string,
    private readonly records: Map<string, T>,
    readonly broken: readonly string[],
  ) {}

  get(id: string): T | undefined {
    return this.records.get(id);
  }

  all(): T[] {
    return [...this.records.values()];
  }

  write(record: T): Promise<void> {
    if (!isRecordId(record.id)) throw new TypeError(`not an id: ${record.id}`);
    return this.inOrder(record.id, async () => {
      await writeFileDurably(this.pathOf(record.id), `${JSON.stringify(record)}\n`);
      this.records.set(record.id, record);
    });
  }

  delete(id: string): Promise<void> {
    return this.inOrder(id, async () => {
      this.records.delete(id);
      try {
        await rm(this.pathOf(id));
        await syncDirectory(this.directory);
      } catch (error) {
        if (!isNotFound(error)) throw error;
      }
    });
  }

  private inOrder(id: string, work: () => Promise<void>): Promise<void> {
    const before = this.writing.get(id) ?? Promise.resolve();
    const next = before.then(work);
    const settled = next.catch(() => undefined); // The caller sees it; the next write must go on.
    this.writing.set(id, settled);
    settled.then(() => {
      if (this.writing.get(id) === settled) this.writing.delete(id);
    });
    return next;
  }

  private pathOf(id: string): string {
    return join(this.directory, `${id}.json`);
  }
}

function parse<T extends Stored>(text: string, id: string): T | undefined {
  try {
    const record = JSON.parse(text) as T | null;
    return record?.id === id ? record : undefined;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}
