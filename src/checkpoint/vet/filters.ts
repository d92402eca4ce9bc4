import { parseProgram } from "./bpf.js";
import { type WithheldCall, weakness } from "./seccomp.js";
import type { CheckedThread, StoredFilter, TreeEntry } from "./tasks.js";
import { unsafe } from "./unsafe.js";

/** More filters on one thread than this are no service's. */
const maxChain = 64;
/** A container has one oldest filter, runc's; each different one costs milliseconds to check. */
const maxOldest = 8;

/** SECCOMP_FILTER_FLAG_TSYNC of linux/seccomp.h: for all threads of the process. */
const forAllThreads = 1;

/**
 * Every thread must have a filter, its own or the one its process's first thread loads for all.
 * Filters only ever add to each other, so it is enough that the oldest of each thread, runc's own, is
 * as strict as the profile.
 * @throws ERR_CHECKPOINT_UNSAFE
 */
export function checkFilters(
  filters: readonly StoredFilter[],
  tree: readonly TreeEntry[],
  threads: ReadonlyMap<number, CheckedThread>,
  withheld: readonly WithheldCall[],
): void {
  // CRIU stores the filter of each process, equal or not.
  const oldest = new Map<string, Buffer>();
  for (const { pid, threads: ids } of tree) {
    if (threads.get(pid)?.isDead === true) continue;
    const first = oldestOf(filters, filterOf(pid, threads));
    oldest.set(first.program.toString("latin1"), first.program);
    for (const id of ids.filter((other) => other !== pid)) {
      const isShared = threads.get(id)?.seccompFilter === undefined;
      if (isShared && (first.flags & forAllThreads) !== 0) continue;
      const { program } = oldestOf(filters, filterOf(id, threads));
      oldest.set(program.toString("latin1"), program);
    }
  }
  if (oldest.size > maxOldest) throw unsafe(`it has ${oldest.size} unrelated seccomp filters`);
  for (const program of oldest.values()) {
    const parsed = parseProgram(program);
    if (parsed === undefined) throw unsafe("a seccomp filter is malformed");
    const passing = weakness(parsed, withheld);
    if (passing !== undefined) {
      throw unsafe(`a seccomp filter lets through what is withheld here: ${passing}`);
    }
  }
}

function filterOf(id: number, threads: ReadonlyMap<number, CheckedThread>): number {
  const filter = threads.get(id)?.seccompFilter;
  if (filter !== undefined) return filter;
  throw unsafe(`thread ${id} runs without the seccomp filter that is demanded here`);
}

function oldestOf(filters: readonly StoredFilter[], newest: number): StoredFilter {
  let at: number | undefined = newest;
  for (let depth = 0; depth < maxChain; depth += 1) {
    const filter: StoredFilter | undefined = filters[at];
    if (filter === undefined) throw unsafe(`there is no seccomp filter ${at}`);
    if (filter.previous === undefined) return filter;
    at = filter.previous;
  }
  throw unsafe("a chain of seccomp filters does not end");
}

/** About as long as a filter by libseccomp of the engine's default profile. */
const rehearsalJumps = 256;
/** BPF_JMP with JEQ, JGT, JGE and JSET on a constant. */
const rehearsedJumps = [0x15, 0x25, 0x35, 0x45];

/**
 * Runs a filter that denies everything, before the freeze: Node compiles the interpreter of filters
 * meanwhile. Measured in processor time: 12 ms here, then 1 to 15 ms for the check instead of 15 to 20.
 */
export function rehearseFilters(withheld: readonly WithheldCall[]): void {
  const program = new Uint32Array(4 * (rehearsalJumps + 2));
  for (let at = 0; at <= rehearsalJumps; at += 1) {
    const code = at % 8 === 0 ? 0x20 : (rehearsedJumps[at % 4] ?? 0x15);
    // The number, the architecture and an argument in turn; constants small and large.
    const constant = code === 0x20 ? [0, 4, 16][at % 3] : at % 5 === 0 ? 0xc000_003e : at;
    program.set([code, 0, 0, constant ?? 0], 4 * at);
  }
  program.set([0x06, 0, 0, 0x0005_0001], 4 * (rehearsalJumps + 1));
  weakness(program, withheld);
}
