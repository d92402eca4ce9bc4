/**
 * The cgroup freezer: what holds a service that must not run. It outlives every process of ours
 * (rule 6 of docs/switchover.md).
 */
import { readdir, readFile, readlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { UmsError } from "../errors.js";
import { poll } from "../lib/deadline.js";
import { run } from "../lib/exec.js";
import { exists, isNotFound } from "../lib/files.js";

export interface Freezer {
  /** The cgroup's directory. */
  readonly directory: string;
  /** Returns once every task is frozen. @throws ERR_DEADLINE after 10 s */
  freeze(): Promise<void>;
  /** Idempotent. */
  thaw(): Promise<void>;
  isFrozen(): Promise<boolean>;
  /** Process ids in the cgroup and below, as this PID namespace sees them. */
  pids(): Promise<number[]>;
  /**
   * Ends every task without letting a frozen one run another instruction: SIGKILL is pending when
   * the thaw comes. On cgroup v1 a frozen task does not die of SIGKILL until it is thawed.
   * Their TCP sockets are closed first, those of their whole network namespace, which must not be
   * ours: they would live on as orphans (FIN_WAIT1), and the same service could not be restored
   * beside them when it returns (TCP_REPAIR: EADDRNOTAVAIL, measured).
   */
  killFrozen(): Promise<void>;
}

const freezeTimeoutMs = 10_000;
const killTimeoutMs = 10_000;

/**
 * The freezer of the cgroup that process `pid` is in.
 * @throws ERR_SERVICE_NOT_RUNNING when there is no such process
 */
export async function freezerOf(pid: number): Promise<Freezer> {
  const directory = await cgroupDirectory(pid);
  return (await exists(join(directory, "cgroup.freeze")))
    ? freezerAt(directory, "v2")
    : freezerAt(directory, "v1");
}

/** The freezer of a known cgroup directory, e.g. the one criu-action wrote down. */
export async function freezerIn(directory: string): Promise<Freezer> {
  const isV2 = await exists(join(directory, "cgroup.freeze"));
  return freezerAt(directory, isV2 ? "v2" : "v1");
}

function freezerAt(directory: string, version: "v1" | "v2"): Freezer {
  const isFrozen = () => readFrozen(directory, version);
  const set = (frozen: boolean) =>
    version === "v1"
      ? writeFile(join(directory, "freezer.state"), frozen ? "FROZEN" : "THAWED")
      : writeFile(join(directory, "cgroup.freeze"), frozen ? "1" : "0");
  return {
    directory,
    isFrozen,
    pids: () => pidsBelow(directory),
    async freeze() {
      await set(true);
      await poll(`freezing ${directory}`, isFrozen, { timeoutMs: freezeTimeoutMs, intervalMs: 1 });
    },
    thaw: () => set(false),
    async killFrozen() {
      const pids = await pidsBelow(directory);
      if (pids[0] !== undefined) await closeSockets(pids[0]);
      for (const pid of pids) killIfThere(pid);
      await ignoreMissing(set(false));
      await poll(
        `ending the processes of ${directory}`,
        async () => (await pidsBelow(directory)).length === 0,
        { timeoutMs: killTimeoutMs, intervalMs: 5 },
      );
    },
  };
}

async function readFrozen(directory: string, version: "v1" | "v2"): Promise<boolean> {
  if (version === "v1") {
    return (await readFile(join(directory, "freezer.state"), "utf8")).trim() === "FROZEN";
  }
  return /^frozen 1$/m.test(await readFile(join(directory, "cgroup.events"), "utf8"));
}

async function pidsBelow(directory: string): Promise<number[]> {
  try {
    const own = await readFile(join(directory, "cgroup.procs"), "utf8");
    const entries = await readdir(directory, { withFileTypes: true });
    const below = await Promise.all(
      entries
        .filter((entry) => entry.isDirectory())
        .map((entry) => pidsBelow(join(directory, entry.name))),
    );
    return own
      .split("\n")
      .filter(Boolean)
      .map(Number)
      .concat(...below);
  } catch (error) {
    // The cgroup goes with its last process.
    if (isNotFound(error) || (error as NodeJS.ErrnoException).code === "ENODEV") return [];
    throw error;
  }
}

/**
 * Before the kill, because kernels before 6.11 do not close orphans (tcp_abort in net/ipv4/tcp.c).
 * ss(8) --kill needs CONFIG_INET_DIAG_DESTROY, which distributions set, and does nothing without.
 */
async function closeSockets(pid: number): Promise<void> {
  try {
    const [own, theirs] = await Promise.all(
      ["self", pid].map((process) => readlink(`/proc/${process}/ns/net`)),
    );
    if (own === theirs) return;
  } catch (error) {
    if (isNotFound(error)) return;
    throw error;
  }
  const argv = ["ss", "--kill", "--tcp", "--numeric", "--no-header", "state", "all"];
  await run(["nsenter", `--net=/proc/${pid}/ns/net`, ...argv]).catch(() => {
    // The copy must end in any case; what is left of it can only hinder its return.
  });
}

function killIfThere(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

async function ignoreMissing(work: Promise<void>): Promise<void> {
  try {
    await work;
  } catch (error) {
    if (!isNotFound(error) && (error as NodeJS.ErrnoException).code !== "ENODEV") throw error;
  }
}

/**
 * Directory of a process's freezer cgroup under /sys/fs/cgroup. The path in /proc/PID/cgroup is
 * the host's where there is no cgroup namespace: the root of our mount is cut off (measured).
 */
async function cgroupDirectory(pid: number): Promise<string> {
  let membership: string;
  try {
    membership = await readFile(`/proc/${pid}/cgroup`, "utf8");
  } catch (error) {
    if (!isNotFound(error)) throw error;
    throw new UmsError("ERR_SERVICE_NOT_RUNNING", `there is no process ${pid}`);
  }
  const mounts = await readFile("/proc/self/mountinfo", "utf8");
  const v1 = /^\d+:(?:[^:]*,)?freezer(?:,[^:]*)?:(.*)$/m.exec(membership)?.[1];
  if (v1 !== undefined) return belowMount(mounts, "/sys/fs/cgroup/freezer", v1);
  const v2 = /^0::(.*)$/m.exec(membership)?.[1];
  if (v2 !== undefined) return belowMount(mounts, "/sys/fs/cgroup", v2);
  throw new UmsError("ERR_PRIVILEGE_MISSING", "this machine shows no cgroup freezer");
}

function belowMount(mountinfo: string, mountPoint: string, path: string): string {
  const fields = mountinfo.split("\n").map((line) => line.split(" "));
  const root = fields.find((field) => field[4] === mountPoint)?.[3] ?? "/";
  const below = root !== "/" && path.startsWith(root) ? path.slice(root.length) : path;
  return join(mountPoint, below);
}
