/**
 * Ends the wait for a CRIU that will not end. A restore that misses pages spins for ever and logs
 * each turn (CRIU 4.2.1, measured: see docs/security-checkpoint.md), so the log's size tells it
 * within a second; a deadline tells the rest.
 */
import { statfs } from "node:fs/promises";
import { UmsError } from "../errors.js";
import { sleep } from "../lib/deadline.js";

export interface WatchOptions {
  /** What is watched, for the error. */
  what: string;
  /** Directory of its log, on a small file system of its own ({@link criuWorkRoot}). */
  workDir: string;
  timeoutMs: number;
}

const lookIntervalMs = 50;
/** A log is never that long by itself: a restore of 100 processes writes 2 MiB. */
const mostUsed = 0.75;

/**
 * Resolves as `work` does.
 * @throws ERR_CRIU_RESTORE_FAILED when the log runs away or the time is over; CRIU still runs then
 */
export async function watched<T>(options: WatchOptions, work: Promise<T>): Promise<T> {
  const ended = new AbortController();
  const watch = async (): Promise<never> => {
    const endMs = performance.now() + options.timeoutMs;
    for (;;) {
      await sleep(lookIntervalMs, ended.signal);
      if (performance.now() > endMs) {
        throw runaway(`${options.what} did not end within ${options.timeoutMs} ms`);
      }
      if ((await usedPart(options.workDir)) > mostUsed) {
        throw runaway(`${options.what} logged without end`);
      }
    }
  };
  const watching = watch();
  // Rejects as cancelled when the work has won.
  watching.catch(() => undefined);
  try {
    return await Promise.race([work, watching]);
  } finally {
    ended.abort();
  }
}

async function usedPart(directory: string): Promise<number> {
  const { blocks, bavail } = await statfs(directory);
  return blocks === 0 ? 0 : 1 - bavail / blocks;
}

function runaway(message: string): UmsError {
  return new UmsError("ERR_CRIU_RESTORE_FAILED", message, {
    hint: "the checkpoint was damaged or this is a fault of CRIU; the log's end is kept",
  });
}
