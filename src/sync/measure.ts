/** Sizes, for deciding whether a migration fits before anything is moved. */
import { statfs } from "node:fs/promises";
import { run } from "../lib/exec.js";

export interface TreeSize {
  /** Allocated, so holes cost nothing and hard links count once. */
  bytes: number;
  /** Inodes: files, directories, links and nodes. */
  files: number;
}

/**
 * Measures a directory with GNU du. Files may come and go meanwhile: du then complains and its
 * figures are still an estimate, but exits 1, so a vanished file is tried once more.
 * @throws ERR_COMMAND_FAILED, ERR_CANCELLED
 */
export async function measureTree(path: string, signal?: AbortSignal): Promise<TreeSize> {
  const measure = () =>
    Promise.all([duTotal(["--block-size=1"], path, signal), duTotal(["--inodes"], path, signal)]);
  let totals: [number, number];
  try {
    totals = await measure();
  } catch (error) {
    if (signal?.aborted === true) throw error;
    totals = await measure();
  }
  return { bytes: totals[0], files: totals[1] };
}

/** Bytes an unprivileged process could still write to the file system of `path` (man 2 statfs). */
export async function freeBytes(path: string): Promise<number> {
  const { bavail, bsize } = await statfs(path);
  return bavail * bsize;
}

async function duTotal(
  options: readonly string[],
  path: string,
  signal?: AbortSignal,
): Promise<number> {
  const { stdout } = await run(["du", "--summarize", ...options, "--", path], {
    timeoutMs: 120_000,
    ...(signal === undefined ? {} : { signal }),
  });
  return Number.parseInt(stdout, 10);
}
