/** One outer container of a cell, reached from the machine itself: faults, signals, journal. */
import { existsSync, watch } from "node:fs";
import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { poll } from "../../src/lib/deadline.js";
import { type RunResult, run } from "../../src/lib/exec.js";
import { noFaults } from "../../src/lib/faults.js";
import { type JournalRecord, parseJournal } from "../../src/migration/journal.js";
import type { SourceState } from "../../src/migration/source-state.js";
import { connectPeer, type Ref } from "../../src/peer/client.js";
import { readIdentity } from "../../src/peer/identity.js";
import { serverIdentityCheck } from "../../src/transfer/security.js";
import { finish } from "../lib/command.js";
import type { OuterContainer } from "../lib/outer.js";
import type { Arm } from "./cell.js";

/** In the outer container; /run/ums is a tmpfs, empty after each start of it. */
export const faultDirectory = "/run/ums/faults";
/** A point may lie behind a slow dump. */
const reachTimeoutMs = 90_000;

export class Side {
  private constructor(
    readonly outer: OuterContainer,
    private initPid: number,
  ) {}

  static async of(outer: OuterContainer): Promise<Side> {
    return new Side(outer, await initPidOf(outer.name));
  }

  get name(): string {
    return this.outer.name;
  }

  /** A path of the outer container, its own mounts included. */
  path(path: string): string {
    return `/proc/${this.initPid}/root${path}`;
  }

  /** Runs a program of the outer container in it, cheaper than by `docker exec`. */
  enter(argv: readonly string[], input?: string): Promise<RunResult> {
    const namespaces = ["--mount", "--net", "--pid", "--uts", "--ipc"];
    const options = { timeoutMs: 20_000, ...(input === undefined ? {} : { input }) };
    return run(["nsenter", "--target", String(this.initPid), ...namespaces, ...argv], options);
  }

  async arm({ point, action }: Pick<Arm, "point" | "action">): Promise<void> {
    await mkdir(this.path(faultDirectory), { recursive: true });
    await writeFile(this.path(`${faultDirectory}/${point}`), action);
  }

  async disarm(): Promise<void> {
    await rm(this.path(faultDirectory), { recursive: true, force: true });
  }

  /** Resolves when a paused, failed or repeated point has been reached. */
  async reached(point: string): Promise<void> {
    const path = this.path(`${faultDirectory}/${point}.reached`);
    await untilThere(path, this.path(faultDirectory), `the fault point ${point}`);
  }

  async isArmed(point: string): Promise<boolean> {
    return existsSync(this.path(`${faultDirectory}/${point}`));
  }

  async release(point: string): Promise<void> {
    await rm(this.path(`${faultDirectory}/${point}.reached`), { force: true });
  }

  async journal(): Promise<JournalRecord[]> {
    return parseJournal(await readFile(this.path("/var/lib/ums/journal"))).records;
  }

  /** Newest migration of which this side is the source. */
  async ownMigration(): Promise<{ ref: Ref; digest: string }> {
    const records = await this.journal();
    const state = records.findLast(
      ({ role, state: { migrationId } }) => role === "source" && migrationId !== undefined,
    )?.state as SourceState | undefined;
    if (state?.migrationId === undefined) throw new Error(`${this.name} was never a source`);
    const ref = { migrationId: state.migrationId, epoch: state.issuedEpoch };
    return { ref, digest: state.digest ?? "" };
  }

  /** A client of `other`'s Migration Interface with this side's certificate; to be closed. */
  async asPeerOf(other: Side) {
    const { ca, cert, key, identify } = readIdentity(this.path("/etc/ums/tls"));
    const tls = {
      ca: Buffer.from(ca),
      cert: Buffer.from(cert),
      key: Buffer.from(key),
      checkServerIdentity: serverIdentityCheck({ ca, cert, key, identify }, undefined) as never,
    };
    const peer = connectPeer(other.outer.peerAddress, tls, noFaults);
    const own = await this.ownMigration().catch(() => ({
      ref: { migrationId: "none", epoch: 0 },
      digest: "",
    }));
    return { peer, ...own };
  }

  /** Resolves when the newest record of the journal is of this state. */
  async whenPhase(phase: string): Promise<void> {
    const isSo = async () => (await this.journal()).at(-1)?.state.phase === phase;
    const wasSo = async () =>
      (await isSo()) || (await this.journal()).at(-2)?.state.phase === phase;
    await poll(`${this.name} in ${phase}`, wasSo, { timeoutMs: reachTimeoutMs });
  }

  /** Resolves when the supervisor has been stopped (SIGSTOP). */
  async whenStopped(): Promise<void> {
    const isStopped = async () => {
      const pid = await this.supervisorPid();
      const stat = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => "");
      return /\) T /.test(stat);
    };
    await poll(`${this.name} stopped`, isStopped, { timeoutMs: reachTimeoutMs });
  }

  /** Drops what comes from or goes to `address`, until {@link heal}. */
  async cut(address: string, directions: readonly ("in" | "out")[]): Promise<void> {
    const rules = {
      in: `add rule inet ums_test in ip saddr ${address} drop`,
      out: `add rule inet ums_test out ip daddr ${address} drop`,
    };
    const lines = [
      "add table inet ums_test",
      "add chain inet ums_test in { type filter hook input priority -300; }",
      "add chain inet ums_test out { type filter hook output priority -300; }",
      ...directions.map((direction) => rules[direction]),
    ];
    await this.enter(["nft", "-f", "-"], `${lines.join("\n")}\n`);
  }

  /** New connections of this side to `from` go to `to`, both `ip:port`, until {@link heal}. */
  async redirect(from: string, to: string): Promise<void> {
    const [ip, port] = from.split(":");
    const lines = [
      "add table inet ums_test",
      "add chain inet ums_test away { type nat hook output priority -100; }",
      `add rule inet ums_test away ip daddr ${ip} tcp dport ${port} dnat ip to ${to}`,
    ];
    await this.enter(["nft", "-f", "-"], `${lines.join("\n")}\n`);
  }

  async heal(): Promise<void> {
    await this.enter(["nft", "delete", "table", "inet", "ums_test"]);
  }

  /** Pid, as this machine sees it, of the supervisor; undefined while there is none. */
  async supervisorPid(): Promise<number | undefined> {
    const [init] = await childrenOf(this.initPid);
    if (init === undefined) return undefined;
    for (const pid of await childrenOf(init)) {
      if ((await commandOf(pid)).includes("dist/src/main.js")) return pid;
    }
    return undefined;
  }

  async signalSupervisor(signal: NodeJS.Signals): Promise<void> {
    const pid = await this.supervisorPid();
    if (pid === undefined) throw new Error(`${this.name} has no supervisor`);
    process.kill(pid, signal);
  }

  /** Pids of the processes whose command line has `word` in it. */
  async pidsOf(word: string): Promise<number[]> {
    const own = await pidsOfCgroup(this.outer.id);
    const commands = await Promise.all(own.map(commandOf));
    return own.filter((_, index) => commands[index]?.includes(word));
  }

  /**
   * Ends the outer container as the loss of its machine would. On cgroup v1 the engine alone cannot
   * while a copy is frozen: SIGKILL is pending for each process, and acts when it is thawed, before
   * another instruction of the program.
   */
  async die(): Promise<void> {
    const { id } = this.outer;
    process.kill(this.initPid, "SIGKILL");
    const isOver = async () => {
      await thawBelow(id);
      return (await inspectState(this.name)) !== "true";
    };
    await poll(`the end of ${this.name}`, isOver, { timeoutMs: 60_000, intervalMs: 200 });
  }

  async docker(...argv: string[]): Promise<void> {
    const [verb = "", ...rest] = argv;
    await run(["docker", verb, ...rest, this.name], { timeoutMs: 90_000 });
  }

  /** After a start of the outer container. */
  async refresh(): Promise<void> {
    this.initPid = await initPidOf(this.name);
  }

  isRunning(): boolean {
    return existsSync(`/proc/${this.initPid}`);
  }
}

async function initPidOf(name: string): Promise<number> {
  const { stdout } = await run(["docker", "inspect", "--format", "{{.State.Pid}}", name]);
  return Number(stdout.trim());
}

async function inspectState(name: string): Promise<string> {
  const { stdout } = await run(["docker", "inspect", "--format", "{{.State.Running}}", name]);
  return stdout.trim();
}

/** Of the nested containers of an outer one, by this machine's view; cgroup v1 alone needs it. */
async function thawBelow(id: string): Promise<void> {
  const root = "/sys/fs/cgroup/freezer";
  if (!existsSync(root)) return;
  // Directories go while it looks; what it has seen is enough, and it looks again.
  const argv = ["find", root, "-path", `*${id}/*/freezer.state`];
  const { stdout } = await finish(argv);
  for (const path of stdout.split("\n").filter(Boolean)) {
    const pids = await readFile(path.replace("freezer.state", "cgroup.procs"), "utf8").catch(
      () => "",
    );
    const areDying = await Promise.all(pids.split("\n").filter(Boolean).map(isDying));
    if (!areDying.every(Boolean)) continue;
    await writeFile(path, "THAWED").catch(() => undefined); // It goes with its last process.
  }
}

/** Whether SIGKILL, bit 8, is pending (man 5 proc_pid_status). */
async function isDying(pid: string): Promise<boolean> {
  const status = await readFile(`/proc/${pid}/status`, "utf8").catch(() => "");
  const masks = [...status.matchAll(/^(?:SigPnd|ShdPnd):\t([0-9a-f]+)/gm)];
  return (
    status === "" ||
    masks.some(([, mask]) => (Number.parseInt(mask?.slice(-4) ?? "0", 16) & 0x100) !== 0)
  );
}

async function untilThere(path: string, directory: string, what: string): Promise<void> {
  const changes = new AbortController();
  const seen = new Promise<void>((resolve) => {
    watch(directory, { signal: changes.signal }, () => existsSync(path) && resolve()).on(
      "error",
      () => undefined, // The outer container ended; the deadline below says so.
    );
  });
  // Watched and looked at: it may have been there before the watch was.
  const isThere = () => existsSync(path);
  const look = poll(what, isThere, {
    timeoutMs: reachTimeoutMs,
    intervalMs: 100,
    signal: changes.signal,
  });
  try {
    await Promise.race([seen, look]);
  } finally {
    look.catch(() => undefined); // Ended by the signal when the watch was first.
    changes.abort();
  }
}

async function childrenOf(pid: number): Promise<number[]> {
  const text = await readFile(`/proc/${pid}/task/${pid}/children`, "utf8").catch(() => "");
  return text.split(" ").filter(Boolean).map(Number);
}

async function commandOf(pid: number): Promise<string> {
  return (await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "")).replaceAll("\0", " ");
}

/** All processes of an outer container, its nested ones too: by the id in their cgroup's path. */
async function pidsOfCgroup(id: string): Promise<number[]> {
  const pids = (await readdir("/proc")).filter((name) => /^\d+$/.test(name)).map(Number);
  const groups = await Promise.all(
    pids.map((pid) => readFile(`/proc/${pid}/cgroup`, "utf8").catch(() => "")),
  );
  return pids.filter((_, index) => groups[index]?.includes(id));
}
