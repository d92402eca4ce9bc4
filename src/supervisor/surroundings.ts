import { readFile, stat, statfs } from "node:fs/promises";
import { hostname } from "node:os";
import { isNotFound } from "../lib/files.js";
import { parseMountinfo } from "../nested/mountinfo.js";
import type { MountSpec } from "../spec.js";
import { parseOpenFilesLimit, parseVariables, serviceMounts } from "./surroundings-parse.js";

/** What the orchestrator gave the outer container and means for the service. */
export interface Surroundings {
  /** `NAME=value`, everything, unfiltered. */
  environment: string[];
  workingDir: string;
  hostname: string;
  mounts: MountSpec[];
  readOnlyRootfs: boolean;
  /** Size of /dev/shm, bytes. */
  shmBytes: number | undefined;
  openFiles: { soft: number; hard: number } | undefined;
  isTty: boolean;
  hasStdin: boolean;
}

export interface SurroundingsPaths {
  /** Written by the entrypoint before it cleans its environment: NUL separated. */
  environ: string;
  workingDir: string;
  /** Directories of UMS itself, whose mounts are not the service's. */
  own: string[];
}

/** Reads the surroundings from the kernel and from what the entrypoint has set aside. */
export async function readSurroundings(paths: SurroundingsPaths): Promise<Surroundings> {
  const mounts = parseMountinfo(await readFile("/proc/self/mountinfo", "utf8"));
  const shm = mounts.some(({ mountPoint }) => mountPoint === "/dev/shm")
    ? await statfs("/dev/shm")
    : undefined;
  return {
    environment: parseVariables(await readOptional(paths.environ)),
    workingDir: (await readOptional(paths.workingDir)).trim() || "/",
    hostname: hostname(),
    mounts: serviceMounts(mounts, paths.own),
    readOnlyRootfs: mounts.findLast(({ mountPoint }) => mountPoint === "/")?.readOnly ?? false,
    shmBytes: shm === undefined ? undefined : shm.blocks * shm.bsize,
    // Process 1's: Node raises its own soft limit to the hard one at its start.
    openFiles: parseOpenFilesLimit(await readFile("/proc/1/limits", "utf8")),
    isTty: process.stdin.isTTY === true && process.stdout.isTTY === true,
    hasStdin: await isStdinOpen(),
  };
}

/** Without `-i` the engine gives /dev/null, character device 1:3, or nothing at all. */
async function isStdinOpen(): Promise<boolean> {
  const target = await stat("/proc/self/fd/0").catch(() => undefined);
  const devNull = (1 << 8) | 3;
  return target !== undefined && !(target.isCharacterDevice() && target.rdev === devNull);
}

async function readOptional(path: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    if (isNotFound(error)) return "";
    throw error;
  }
}
