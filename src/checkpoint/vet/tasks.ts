/** Credentials, seccomp mode and scheduling of every thread, from core-*.img. */
import {
  bytesIn,
  type Fields,
  messageIn,
  messagesIn,
  numberIn,
  numbersIn,
  textIn,
} from "../../criu/protobuf.js";
import { type CapabilityWords, capabilitiesBeyond, hasCapability } from "./capabilities.js";
import type { Grants } from "./grants.js";
import { unsafe } from "./unsafe.js";

/** Field numbers of CRIU's images/core.proto and creds.proto. */
const core = { task: 3, ids: 4, thread: 5 };
const task = { state: 1, oldSeccompMode: 11, oldSeccompFilter: 12 };
const thread = { schedPolicy: 4, creds: 10, seccompMode: 11, seccompFilter: 12 };
const capabilitySets = [
  { field: 9, name: "inheritable" },
  { field: 10, name: "permitted" },
  { field: 11, name: "effective" },
  { field: 12, name: "bounding" },
  { field: 19, name: "ambient" },
];
const creds = { securebits: 13, lsmProfile: 15, lsmData: 17, noNewPrivileges: 18 };

/** TASK_DEAD of criu/include/image.h: a zombie, which has no credentials any more. */
const deadState = 2;
const seccompFilterMode = 2;
/** Those the kernel has (linux/securebits.h). */
const knownSecurebits = 0xff;
/** SCHED_FIFO, SCHED_RR and SCHED_DEADLINE, which want CAP_SYS_NICE. */
const realTimePolicies = [1, 2, 6];

export interface CheckedThread {
  isDead: boolean;
  /**
   * Newest filter of its chain in seccomp.img; undefined: none is its own. A thread then has that of
   * its process's first thread, if that is given to all (SECCOMP_FILTER_FLAG_TSYNC).
   */
  seccompFilter: number | undefined;
  /** Namespaces as an older CRIU wrote them, here instead of in ids-*.img. */
  ids: Fields | undefined;
}

/** @throws ERR_CHECKPOINT_UNSAFE when a thread is more than the container's own may be */
export function checkThread(id: number, entry: Fields, grants: Grants): CheckedThread {
  const taskEntry = messageIn(entry, core.task);
  const ids = messageIn(entry, core.ids);
  const threadEntry = messageIn(entry, core.thread);
  if (taskEntry?.has(task.oldSeccompMode) || taskEntry?.has(task.oldSeccompFilter)) {
    throw unsafe(`process ${id} has its seccomp mode where older CRIUs wrote it`);
  }
  const isDead = taskEntry !== undefined && numberIn(taskEntry, task.state) === deadState;
  const credentials = threadEntry && messageIn(threadEntry, thread.creds);
  if (threadEntry === undefined || credentials === undefined) {
    if (isDead) return { isDead, ids, seccompFilter: undefined };
    throw unsafe(`thread ${id} has no credentials`);
  }
  checkCredentials(id, credentials, grants);
  const policy = numberIn(threadEntry, thread.schedPolicy) ?? 0;
  if (realTimePolicies.includes(policy) && !hasCapability(grants.bounding, "SYS_NICE")) {
    throw unsafe(`thread ${id} has a real-time scheduling policy (${policy}) without CAP_SYS_NICE`);
  }
  return { isDead, ids, seccompFilter: seccompFilterOf(id, threadEntry) };
}

function checkCredentials(id: number, credentials: Fields, grants: Grants): void {
  const sets = new Map<string, CapabilityWords>();
  for (const { field, name } of capabilitySets) {
    const set = numbersIn(credentials, field);
    if (set.length > 2 || set.some((word) => word > 0xffff_ffff)) {
      throw unsafe(`the ${name} capabilities of thread ${id} are malformed`);
    }
    const beyond = capabilitiesBeyond(set, grants.bounding);
    if (beyond.length > 0) {
      throw unsafe(`thread ${id} has ${beyond.join(", ")} (${name}), not granted here`, {
        thread: id,
        set: name,
        capabilities: beyond,
      });
    }
    sets.set(name, set);
  }
  if (((numberIn(credentials, creds.securebits) ?? 0) & ~knownSecurebits) !== 0) {
    throw unsafe(`thread ${id} has unknown securebits`);
  }
  if (grants.noNewPrivileges && numberIn(credentials, creds.noNewPrivileges) !== 1) {
    throw unsafe(`thread ${id} may gain privileges, which is not granted here`);
  }
  const label = textIn(credentials, creds.lsmProfile);
  if (label !== grants.lsmLabel) {
    const demanded = grants.lsmLabel ?? "none";
    throw unsafe(`thread ${id} has the security label ${label ?? "none"}, here it is ${demanded}`);
  }
  if (bytesIn(credentials, creds.lsmData) !== undefined) {
    throw unsafe(`thread ${id} brings a security policy of its own`);
  }
}

function seccompFilterOf(id: number, entry: Fields): number | undefined {
  const mode = numberIn(entry, thread.seccompMode) ?? 0;
  const filter = numberIn(entry, thread.seccompFilter);
  if ((mode === seccompFilterMode) !== (filter !== undefined)) {
    throw unsafe(`thread ${id} has a seccomp mode that does not fit its filter`);
  }
  return filter;
}

/** Process and thread ids of pstree.img; process 1 is the root of the tree. */
export interface TreeEntry {
  pid: number;
  threads: number[];
}

/** @throws ERR_CHECKPOINT_UNSAFE when the tree does not fit the images there are */
export function checkTree(entries: readonly Fields[], coreNumbers: readonly number[]): TreeEntry[] {
  const tree = entries.map((entry) => ({
    pid: numberIn(entry, 1) ?? 0,
    parent: numberIn(entry, 2) ?? 0,
    threads: numbersIn(entry, 5),
  }));
  const roots = tree.filter(({ parent }) => parent === 0);
  if (roots.length !== 1 || roots[0]?.pid !== 1) throw unsafe("its first process is not process 1");
  const pids = new Set(tree.map(({ pid }) => pid));
  if (pids.size !== tree.length) throw unsafe("a process is in the tree twice");
  const stray = tree.find(({ parent }) => parent !== 0 && !pids.has(parent));
  if (stray !== undefined) throw unsafe(`process ${stray.pid} has no parent in the tree`);
  const expected = new Set(tree.flatMap(({ pid, threads }) => [pid, ...threads]));
  const surplus = coreNumbers.find((number) => !expected.has(number));
  if (surplus !== undefined) throw unsafe(`core-${surplus}.img is of no process in the tree`);
  const missing = [...expected].find((number) => !coreNumbers.includes(number));
  if (missing !== undefined) throw unsafe(`process ${missing} has no core image`);
  return tree;
}

/** One filter of seccomp.img: its program and the older one below it. */
export interface StoredFilter {
  program: Buffer;
  previous: number | undefined;
  /** SECCOMP_FILTER_FLAG_*, with which it is loaded. */
  flags: number;
}

export function storedFilters(entry: Fields): StoredFilter[] {
  return messagesIn(entry, 1).map((filter) => ({
    program: bytesIn(filter, 1) ?? Buffer.alloc(0),
    previous: numberIn(filter, 2),
    flags: numberIn(filter, 3) ?? 0,
  }));
}
