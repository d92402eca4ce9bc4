/**
 * A pending restore: the directory through which the supervisor and entrypoint/ums-runc agree that
 * the next `create` of a container is a restore. The file names are explained there.
 */
import { constants } from "node:fs";
import { mkdir, open, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { UmsError } from "../errors.js";
import { poll } from "../lib/deadline.js";
import { run } from "../lib/exec.js";
import { exists, isNotFound } from "../lib/files.js";
import { sharedCheckpointFlags } from "./runc.js";

/** Twin of UMS_RESTORE_DIR's default in entrypoint/ums-runc. On tmpfs: memory pages lie here. */
export const restoreRoot = "/run/ums/restore";

export interface PendingRestore {
  readonly imagesDir: string;
  readonly workDir: string;
  /** Resolves when the runtime stands at the gate. @throws ERR_DEADLINE */
  waiting(timeoutMs: number): Promise<void>;
  /** Lets the runtime restore, or makes it fail. Returns false when nobody stands at the gate. */
  answer(decision: "restore" | "refuse"): Promise<boolean>;
  /** Cgroup directory that was frozen before the first instruction; undefined before that. */
  frozenCgroup(): Promise<string | undefined>;
  /** Deletes images and all. */
  remove(): Promise<void>;
}

/** Makes the directory; an earlier one of the same container is dropped. */
export async function createPendingRestore(containerId: string): Promise<PendingRestore> {
  const directory = join(restoreRoot, containerId);
  await rm(directory, { recursive: true, force: true });
  await mkdir(join(directory, "images"), { recursive: true, mode: 0o700 });
  await mkdir(join(directory, "work"), { mode: 0o700 });
  await writeFile(join(directory, "options"), `${sharedCheckpointFlags.join("\n")}\n`);
  await writeFile(join(directory, "held"), "");
  await run(["mkfifo", "-m", "600", join(directory, "gate")]);
  return openPendingRestore(containerId);
}

/** The directory of a container, made earlier, perhaps by a supervisor that is gone. */
export function openPendingRestore(containerId: string): PendingRestore {
  const directory = join(restoreRoot, containerId);
  return {
    imagesDir: join(directory, "images"),
    workDir: join(directory, "work"),
    async waiting(timeoutMs) {
      await poll("the runtime at the restore gate", () => exists(join(directory, "waiting")), {
        timeoutMs,
        intervalMs: 5,
      });
    },
    answer: (decision) => writeGate(join(directory, "gate"), decision),
    frozenCgroup: () => readLine(join(directory, "frozen")),
    remove: () => rm(directory, { recursive: true, force: true }),
  };
}

/** Opens without blocking: ENXIO means that no reader stands at the FIFO (man 7 fifo). */
async function writeGate(path: string, line: string): Promise<boolean> {
  try {
    const gate = await open(path, constants.O_WRONLY | constants.O_NONBLOCK);
    try {
      await gate.write(`${line}\n`);
    } finally {
      await gate.close();
    }
    return true;
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === "ENXIO" || code === "ENOENT") return false;
    throw UmsError.from(error);
  }
}

async function readLine(path: string): Promise<string | undefined> {
  try {
    return (await readFile(path, "utf8")).trim();
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw error;
  }
}
