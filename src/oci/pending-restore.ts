/**
 * A pending restore: the directory through which the supervisor and entrypoint/ums-runc agree that
 * the next `create` of a container is a restore. The file names are explained there.
 */
import { constants } from "node:fs";
import { mkdir, open, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { criuWorkRoot } from "../criu/files.js";
import { UmsError } from "../errors.js";
import { poll } from "../lib/deadline.js";
import { run } from "../lib/exec.js";
import { exists, isNotFound } from "../lib/files.js";
import { commandLine, descendants, killAll } from "./process-tree.js";
import { sharedCheckpointFlags } from "./runc.js";

/** Twin of UMS_RESTORE_DIR's default in entrypoint/ums-runc. On tmpfs: memory pages lie here. */
export const restoreRoot = "/run/ums/restore";

const killTimeoutMs = 5_000;

export interface PendingRestore {
  readonly imagesDir: string;
  readonly workDir: string;
  /** Resolves when the runtime stands at the gate. @throws ERR_DEADLINE */
  waiting(timeoutMs: number): Promise<void>;
  /** Directory of the OCI bundle that the runtime was given; once it stands at the gate. */
  bundle(): Promise<string>;
  /** Lets the runtime restore, or makes it fail. Returns false when nobody stands at the gate. */
  answer(decision: "restore" | "refuse"): Promise<boolean>;
  /**
   * Ends a restore under way: CRIU and what it has restored so far are killed, runc is left to clean
   * up after them. Idempotent; nothing happens when no restore runs.
   */
  kill(): Promise<void>;
  /** Cgroup directory that was frozen before the first instruction; undefined before that. */
  frozenCgroup(): Promise<string | undefined>;
  /** Deletes images and all. */
  remove(): Promise<void>;
}

/** Makes the directory; an earlier one of the same container is dropped. */
export async function createPendingRestore(containerId: string): Promise<PendingRestore> {
  const directory = join(restoreRoot, containerId);
  await openPendingRestore(containerId).remove();
  await mkdir(join(directory, "images"), { recursive: true, mode: 0o700 });
  const work = join(criuWorkRoot, containerId);
  await mkdir(work, { recursive: true, mode: 0o700 });
  await symlink(work, join(directory, "work"));
  await writeFile(join(directory, "options"), `${sharedCheckpointFlags.join("\n")}\n`);
  await writeFile(join(directory, "held"), "");
  await run(["mkfifo", "-m", "600", join(directory, "gate")]);
  return openPendingRestore(containerId);
}

/** Makes every restore fail that waits at its gate; no harm where none does. */
export async function refusePendingRestores(): Promise<void> {
  const ids = await readdir(restoreRoot).catch((error: unknown) => {
    if (isNotFound(error)) return [];
    throw error;
  });
  await Promise.all(ids.map((id) => openPendingRestore(id).answer("refuse")));
}

/** Deletes what is left of restores that have ended: call it when none is under way. */
export async function removePendingRestores(): Promise<void> {
  await rm(restoreRoot, { recursive: true, force: true });
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
    bundle: async () => (await readFile(join(directory, "bundle"), "utf8")).trim(),
    answer: (decision) => writeGate(join(directory, "gate"), decision),
    kill: () => killBelow(directory, containerId),
    frozenCgroup: () => readLine(join(directory, "frozen")),
    async remove() {
      await unmountBelow(join(criuWorkRoot, containerId));
      await rm(directory, { recursive: true, force: true });
      await rm(join(criuWorkRoot, containerId), { recursive: true, force: true });
    },
  };
}

/** The process id may be another's by now: only a runtime hook of this container is meant. */
async function killBelow(directory: string, containerId: string): Promise<void> {
  const pid = Number(await readLine(join(directory, "pid")));
  if (!(pid > 0)) return;
  const isOurs = async () => (await commandLine(pid)).at(-1) === containerId;
  if (!(await isOurs())) return;
  const isDone = async () => {
    const below = await descendants(pid);
    const commands = await Promise.all(below.map(commandLine));
    const doomed = below.filter((_, index) => !isRunc(commands[index] ?? []));
    killAll(doomed);
    return doomed.length === 0 || !(await isOurs());
  };
  await poll("the end of a restore", isDone, { timeoutMs: killTimeoutMs, intervalMs: 20 });
}

/** A CRIU that was killed leaves the cgroup mounts it made in its work directory (.criu.cgyard.*). */
async function unmountBelow(directory: string): Promise<void> {
  const mountPoints = (await readFile("/proc/self/mountinfo", "utf8"))
    .split("\n")
    .flatMap((line) => line.split(" ")[4] ?? [])
    .filter((mountPoint) => mountPoint.startsWith(`${directory}/`));
  // The innermost first.
  for (const mountPoint of mountPoints.reverse()) await run(["umount", "--lazy", mountPoint]);
}

function isRunc([program = ""]: readonly string[]): boolean {
  return program === "runc" || program.endsWith("/runc");
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
