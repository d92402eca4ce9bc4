/** Memory of the service and room for it, from the kernel's own accounts. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { isNotFound } from "../../lib/files.js";

/**
 * Bytes a checkpoint of these processes will hold: anonymous and shared memory
 * (/proc/PID/smaps_rollup, man 5 proc). Pss counts a page shared by two processes once.
 */
export async function residentBytes(pids: readonly number[]): Promise<number> {
  const sizes = await Promise.all(pids.map(residentBytesOf));
  return sizes.reduce((sum, bytes) => sum + bytes, 0);
}

async function residentBytesOf(pid: number): Promise<number> {
  const rollup = await readIfThere(`/proc/${pid}/smaps_rollup`);
  if (rollup === undefined) return 0;
  const kib = (field: string) =>
    Number(new RegExp(`^${field}:\\s+(\\d+) kB`, "m").exec(rollup)?.[1] ?? 0);
  return (kib("Pss_Anon") + kib("Pss_Shmem")) * 1024;
}

/**
 * Bytes this outer container may still use: the machine's MemAvailable, or what its cgroup
 * leaves, whichever is less.
 */
export async function availableBytes(): Promise<number> {
  const meminfo = await readFile("/proc/meminfo", "utf8");
  const machine = Number(/^MemAvailable:\s+(\d+) kB/m.exec(meminfo)?.[1] ?? 0) * 1024;
  const v1 = await leftInCgroup("/sys/fs/cgroup/memory", [
    "memory.limit_in_bytes",
    "memory.usage_in_bytes",
  ]);
  const v2 = await leftInCgroup("/sys/fs/cgroup", ["memory.max", "memory.current"]);
  return Math.min(machine, v1 ?? machine, v2 ?? machine);
}

async function leftInCgroup(
  directory: string,
  [limitFile, usageFile]: [string, string],
): Promise<number | undefined> {
  const limit = await readIfThere(join(directory, limitFile));
  const usage = await readIfThere(join(directory, usageFile));
  // "max" (v2) is no limit; v1 says so with a number beyond any machine.
  if (limit === undefined || usage === undefined || limit.trim() === "max") return undefined;
  return Number(limit) - Number(usage);
}

async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    // ESRCH: the process ended while its file was open.
    if (isNotFound(error) || (error as NodeJS.ErrnoException).code === "ESRCH") return undefined;
    throw error;
  }
}
