/**
 * The source's half of the switch-over, as a pure function (docs/switchover.md).
 *
 * The same function runs in production (source-runner.ts) and is explored breadth-first by
 * test/unit/migration/switchover-model.test.ts. It does no I/O and knows no clock.
 */

import { type Fence, fenceReason } from "./fence.js";

export type SourcePhase =
  | "ACTIVE"
  | "PREPARING"
  | "PRECOPY"
  | "FREEZING"
  | "FROZEN"
  | "COMMITTED"
  | "DONE"
  | "RETIRED"
  | "ABORTED"
  | "ROLLED_BACK";

export interface SourceState {
  phase: SourcePhase;
  /** Epoch under which this side owns the service. */
  epoch: number;
  /** Highest epoch ever offered to a destination. A failed one is burnt, never offered again. */
  issuedEpoch: number;
  /** Set from PREPARING on. */
  migrationId?: string;
  /** Manifest digest of the checkpoint, from FROZEN on. */
  digest?: string;
  /** Why it was aborted or rolled back. */
  reason?: string;
  /** Set when an operator's word ended the doubt; kept until the next migration. */
  fence?: Fence;
}

export type SourceEvent =
  | { type: "begin"; migrationId: string }
  | { type: "reserved" }
  | { type: "converged" }
  | { type: "dumped"; digest: string }
  | { type: "prepared"; epoch: number; digest: string }
  | { type: "running"; epoch: number }
  | { type: "refused"; epoch: number; reason: string }
  /** `ums rollback --fenced`: the destination can never run again. */
  | { type: "fenced"; fence: Fence }
  /** Any failure, cancel, SIGTERM or deadline on this side. */
  | { type: "failed"; reason: string }
  | { type: "killed" }
  | { type: "thawed" }
  /** `isTakenOver`: the destination, asked now, owns the service under the epoch it was offered. */
  | { type: "restarted"; isTakenOver: boolean };

/** What the runner does once the state is durable, in this order. */
export type SourceEffect =
  | "reserve"
  | "precopy"
  | "freeze"
  | "prepare"
  | "send-commit"
  | "send-abort"
  | "kill"
  | "thaw";

export interface SourceStep {
  state: SourceState;
  /** True: fsync the record of `state` before the first effect (rule 4, write ahead). */
  journal: boolean;
  effects: SourceEffect[];
}

/** Phases in which the decision has not fallen: a failure here means abort and thaw. */
const undecided: ReadonlySet<SourcePhase> = new Set(["PREPARING", "PRECOPY", "FREEZING", "FROZEN"]);

export function isUndecided(phase: SourcePhase): boolean {
  return undecided.has(phase);
}

/** True once the decision has fallen: this side never runs the service again on its own. */
export function isCommitted(phase: SourcePhase): boolean {
  return phase === "COMMITTED" || phase === "DONE" || phase === "RETIRED";
}

/** True while no second migration may start. */
export function isBusy(phase: SourcePhase): boolean {
  return phase !== "ACTIVE" && phase !== "RETIRED";
}

export function initialSource(epoch: number): SourceState {
  return { phase: "ACTIVE", epoch, issuedEpoch: epoch };
}

/**
 * The transition function. An event that does not fit the state (repeated, late, of another
 * epoch) changes nothing, which makes every message idempotent (rule 9).
 */
export function reduceSource(state: SourceState, event: SourceEvent): SourceStep {
  switch (event.type) {
    case "begin":
      return begin(state, event.migrationId);
    case "reserved":
      return advance(state, "PREPARING", { phase: "PRECOPY" }, ["precopy"]);
    case "converged":
      return advance(state, "PRECOPY", { phase: "FREEZING" }, ["freeze"]);
    case "dumped":
      return advance(state, "FREEZING", { phase: "FROZEN", digest: event.digest }, ["prepare"]);
    case "prepared":
      if (event.epoch !== state.issuedEpoch || event.digest !== state.digest) return stay(state);
      return advance(state, "FROZEN", { phase: "COMMITTED" }, ["send-commit"]);
    case "running":
      if (event.epoch !== state.issuedEpoch) return stay(state);
      return advance(state, "COMMITTED", { phase: "DONE" }, ["kill"]);
    case "refused":
      return refused(state, event.epoch, event.reason);
    case "fenced":
      return rolledBack(state, {
        reason: fenceReason("rollback", event.fence),
        fence: event.fence,
      });
    case "failed":
      if (!undecided.has(state.phase)) return stay(state);
      return abort(state, event.reason);
    case "killed":
      return advance(state, "DONE", { phase: "RETIRED" }, []);
    case "thawed":
      if (state.phase !== "ABORTED" && state.phase !== "ROLLED_BACK") return stay(state);
      return move(state, { phase: "ACTIVE" }, []);
    case "restarted":
      return restarted(state, event.isTakenOver);
  }
}

/** What a source says it decided. UNKNOWN decides nothing. */
export type SourceAnswer = "PENDING" | "COMMIT" | "ABORT" | "UNKNOWN";

/**
 * Answers a destination's query from the newest record of its migration.
 *
 * No record is not an abort. A migration is recorded before the destination hears of it, so whoever
 * has no record is not its source: a new outer container at the old one's address, with its
 * certificate but without its journal. The true source may have committed before it was lost.
 */
export function answerQuery(record: SourceState | undefined): SourceAnswer {
  if (record === undefined) return "UNKNOWN";
  if (undecided.has(record.phase)) return "PENDING";
  return isCommitted(record.phase) ? "COMMIT" : "ABORT";
}

function begin(state: SourceState, migrationId: string): SourceStep {
  if (state.phase !== "ACTIVE") return stay(state);
  const { epoch, issuedEpoch } = state;
  const next: SourceState = {
    phase: "PREPARING",
    epoch,
    issuedEpoch: issuedEpoch + 1,
    migrationId,
  };
  return { state: next, journal: true, effects: ["reserve"] };
}

/**
 * Only REFUSED lets the source thaw after COMMITTED, or an operator's word: the destination can then
 * never own it.
 */
function refused(state: SourceState, epoch: number, reason: string): SourceStep {
  if (epoch !== state.issuedEpoch) return stay(state);
  if (undecided.has(state.phase)) return abort(state, reason);
  return rolledBack(state, { reason });
}

function rolledBack(state: SourceState, why: { reason: string; fence?: Fence }): SourceStep {
  return advance(state, "COMMITTED", { phase: "ROLLED_BACK", ...why }, ["thaw", "send-abort"]);
}

function abort(state: SourceState, reason: string): SourceStep {
  return move(state, { phase: "ABORTED", reason }, ["thaw", "send-abort"]);
}

/**
 * In FROZEN the destination may be PREPARED, and an operator may have taken over there because this
 * side seemed dead: without a COMMIT nothing else starts it there. So it is asked first. Any other
 * answer, and silence, is an abort as before.
 */
function restarted(state: SourceState, isTakenOver: boolean): SourceStep {
  if (state.phase === "FROZEN" && isTakenOver) return move(state, { phase: "DONE" }, ["kill"]);
  if (undecided.has(state.phase)) return abort(state, "the source's supervisor was restarted");
  switch (state.phase) {
    case "COMMITTED":
      return { state, journal: false, effects: ["send-commit"] };
    case "DONE":
      return { state, journal: false, effects: ["kill"] };
    case "ABORTED":
    case "ROLLED_BACK":
      return { state, journal: false, effects: ["thaw", "send-abort"] };
    case "ACTIVE":
      // Thawed, but perhaps the destination was not told, which would wait until its lease ends.
      return {
        state,
        journal: false,
        effects: state.migrationId === undefined ? [] : ["send-abort"],
      };
    default:
      return stay(state);
  }
}

function advance(
  state: SourceState,
  from: SourcePhase,
  change: Partial<SourceState>,
  effects: SourceEffect[],
): SourceStep {
  return state.phase === from ? move(state, change, effects) : stay(state);
}

function move(
  state: SourceState,
  change: Partial<SourceState>,
  effects: SourceEffect[],
): SourceStep {
  return { state: { ...state, ...change }, journal: true, effects };
}

function stay(state: SourceState): SourceStep {
  return { state, journal: false, effects: [] };
}
