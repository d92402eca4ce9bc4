/** How much memory an outer container takes while a service moves. */
import { readFile } from "node:fs/promises";
import { sleep } from "../../src/lib/deadline.js";
import { run } from "../../src/lib/exec.js";

export interface MemorySampler {
  /** @returns the most that was taken beyond what was taken at the start, bytes */
  stop(): Promise<number>;
}

const intervalMs = 20;

/**
 * Samples anonymous memory and tmpfs of everything in the outer container, by its cgroup. Page cache
 * of files on disk is left out: the kernel drops it when memory is short.
 */
export async function startSampling(container: string): Promise<MemorySampler> {
  const inspect = ["docker", "inspect", "--format", "{{.State.Pid}}", container];
  const pid = (await run(inspect)).stdout.trim();
  const read = () => readUsedBytes(`/proc/${pid}/root/sys/fs/cgroup`);
  const initialBytes = await read();
  let peakBytes = initialBytes;
  let isStopping = false;
  const sampling = (async () => {
    while (!isStopping) {
      peakBytes = Math.max(peakBytes, await read());
      await sleep(intervalMs);
    }
  })();
  // Awaited in stop(); until then its failure must not end the process.
  sampling.catch(() => undefined);
  return {
    async stop() {
      isStopping = true;
      await sampling;
      return peakBytes - initialBytes;
    },
  };
}

/**
 * The container's own view of its cgroup, below its root directory: v1 (Documentation/admin-guide/
 * cgroup-v1/memory.rst) or v2 (cgroup-v2.rst). Both count tmpfs as `shmem`.
 */
async function readUsedBytes(directory: string): Promise<number> {
  const v1 = await readFile(`${directory}/memory/memory.stat`, "utf8").catch(() => undefined);
  if (v1 !== undefined) return field(v1, "total_rss") + field(v1, "total_shmem");
  const v2 = await readFile(`${directory}/memory.stat`, "utf8");
  return field(v2, "anon") + field(v2, "shmem");
}

function field(stat: string, name: string): number {
  const match = new RegExp(`^${name} (\\d+)$`, "m").exec(stat);
  if (match === null) throw new Error(`memory.stat has no ${name}`);
  return Number(match[1]);
}
