/**
 * Removing outer containers, also those whose service is frozen. On cgroup v1 SIGKILL does not end a
 * frozen process, and dockerd gives up on its container ("did not receive an exit event"). Thawed with
 * the signal pending it ends without another instruction.
 */
import { readdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { poll } from "../../src/lib/deadline.js";
import { run } from "../../src/lib/exec.js";
import { isNotFound } from "../../src/lib/files.js";

const freezerRoot = "/sys/fs/cgroup/freezer";
const killTimeoutMs = 10_000;
const removeTimeoutMs = 120_000;

/** As a machine that loses its power: no process of theirs gets to run again. */
export async function removeOuters(names: readonly string[]): Promise<void> {
  if (names.length === 0) return;
  await Promise.all(names.map(killFrozen));
  await run(["docker", "rm", "--force", "--volumes", ...names], { timeoutMs: removeTimeoutMs });
}

async function killFrozen(name: string): Promise<void> {
  const format = "{{.State.Pid}}";
  const pid = Number((await run(["docker", "inspect", "--format", format, name])).stdout);
  // Not running, or on another machine than this test.
  if (pid === 0) return;
  const frozen = await frozenGroups(pid);
  if (frozen.length === 0) return;
  process.kill(pid, "SIGKILL");
  for (const group of frozen) {
    const isKilled = () => isKillPending(group);
    await poll(`${name} is killed`, isKilled, { timeoutMs: killTimeoutMs, intervalMs: 20 });
    await writeFile(join(group, "freezer.state"), "THAWED");
  }
}

/** Directories of cgroups that are frozen by themselves, below the one of a process. */
async function frozenGroups(pid: number): Promise<string[]> {
  const groups = await orEmpty(readFile(`/proc/${pid}/cgroup`, "utf8"));
  const path = /^\d+:freezer:(.*)$/m.exec(groups)?.[1];
  if (path === undefined || path === "/") return [];
  const directory = join(freezerRoot, path);
  const files = (await readdir(directory, { recursive: true })).filter((file) =>
    file.endsWith("freezer.self_freezing"),
  );
  const states = await Promise.all(
    files.map(async (file) => (await orEmpty(readFile(join(directory, file), "utf8"))).trim()),
  );
  return files
    .filter((_, index) => states[index] === "1")
    .map((file) => join(directory, dirname(file)));
}

async function isKillPending(group: string): Promise<boolean> {
  const pids = (await readFile(join(group, "cgroup.procs"), "utf8")).trim().split("\n");
  const statuses = await Promise.all(
    pids.map((pid) => orEmpty(readFile(`/proc/${pid}/status`, "utf8"))),
  );
  // Bit 8: SIGKILL, pending for the thread or for its group.
  const sigkill = 1n << 8n;
  return statuses.every((status) =>
    [...status.matchAll(/^(?:SigPnd|ShdPnd):\s*([0-9a-f]+)$/gm)].some(
      ([, mask]) => (BigInt(`0x${mask}`) & sigkill) !== 0n,
    ),
  );
}

async function orEmpty(reading: Promise<string>): Promise<string> {
  try {
    return await reading;
  } catch (error) {
    if (isNotFound(error)) return "";
    throw error;
  }
}
