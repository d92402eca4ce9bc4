/**
 * Fault points: named places in the code where a test can make things go wrong. They do nothing
 * unless the process was started with `UMS_TEST_FAULTS`, a directory.
 *
 * A point is armed by a file of its name in that directory; the content says what happens when the
 * point is reached, once:
 * - `pause`: the file becomes `NAME.reached`, and the code waits until that is deleted;
 * - `fail`: the file becomes `NAME.reached`, and the code sees an ERR_INTERNAL;
 * - `repeat`: the file becomes `NAME.reached`; only calls to a peer know it, and are made twice;
 * - `kill`: the process ends at once, as by a crash;
 * - `stop`: the process is stopped (SIGSTOP) until somebody continues it.
 */
import { readFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { UmsError } from "../errors.js";
import { poll } from "./deadline.js";
import { exists, isNotFound } from "./files.js";

export interface Faults {
  /** Reached the point; true when what follows is to be done twice. @throws ERR_INTERNAL (`fail`) */
  at(point: string): Promise<boolean>;
  /** What the file `NAME.json` says instead of the truth, e.g. that this is another processor. */
  pretend(name: string): Promise<Record<string, unknown>>;
}

/** Of every process that is not under such a test. */
export const noFaults: Faults = {
  at: () => Promise.resolve(false),
  pretend: () => Promise.resolve({}),
};

/** A paused point whose test has died must not stay for ever. */
const pauseTimeoutMs = 600_000;

/** @param directory absent for production: {@link noFaults} */
export function openFaults(directory: string | undefined): Faults {
  if (directory === undefined) return noFaults;
  return {
    async at(point) {
      const path = join(directory, point);
      const action = (await readIfThere(path))?.trim();
      if (action === undefined) return false;
      await act(action, point, path);
      return action === "repeat";
    },
    async pretend(name) {
      return JSON.parse((await readIfThere(join(directory, `${name}.json`))) ?? "{}");
    },
  };
}

async function act(action: string, point: string, path: string): Promise<void> {
  const reached = `${path}.reached`;
  if (action === "kill" || action === "stop") {
    // First, or the next supervisor would meet the same end at the same place.
    await rm(path);
    process.kill(process.pid, action === "kill" ? "SIGKILL" : "SIGSTOP");
    return;
  }
  await rename(path, reached);
  if (action === "fail") throw new UmsError("ERR_INTERNAL", `the fault point ${point} failed`);
  if (action === "pause") {
    const isReleased = async () => !(await exists(reached));
    const wait = { timeoutMs: pauseTimeoutMs, intervalMs: 5 };
    await poll(`the release of the fault point ${point}`, isReleased, wait);
  }
}

async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw error;
  }
}
