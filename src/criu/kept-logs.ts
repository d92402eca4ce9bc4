/**
 * CRIU's logs of what failed, kept for the operator: the work directories they are written to are on
 * tmpfs and go with the migration.
 */
import { mkdir, open, readdir, rm, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { isNotFound } from "../lib/files.js";

/** Twin of UMS_STATE_DIR's default. */
export const keptLogsDir = "/var/lib/ums/logs";

/** The newest so many are kept, each at most its last 4 MiB: a looping restore logs without end. */
const maxLogs = 20;
const maxLogBytes = 4 * 1024 * 1024;

/**
 * Copies the end of a log into `directory` under a name with the time in it.
 * @returns the copy's path; the original's when there is nothing to copy
 */
export async function keepLog(logPath: string, directory: string = keptLogsDir): Promise<string> {
  const content = await readEnd(logPath);
  if (content === undefined) return logPath;
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const time = new Date().toISOString().replaceAll(":", "-");
  const path = join(directory, `${time}-${basename(logPath)}`);
  await writeFile(path, content, { mode: 0o600 });
  const names = (await readdir(directory)).sort();
  const surplus = names.slice(0, Math.max(0, names.length - maxLogs));
  await Promise.all(surplus.map((name) => rm(join(directory, name), { force: true })));
  return path;
}

async function readEnd(path: string): Promise<Buffer | undefined> {
  try {
    const file = await open(path, "r");
    try {
      const { size } = await file.stat();
      const content = Buffer.alloc(Math.min(size, maxLogBytes));
      await file.read(content, 0, content.length, size - content.length);
      return content;
    } finally {
      await file.close();
    }
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw error;
  }
}
