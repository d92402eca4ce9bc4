/**
 * The destination's half of the switch-over, as a pure function (docs/switchover.md).
 *
 * OWNER and REFUSED exclude each other by the journal: that is the whole safety argument.
 */

import { type Fence, fenceReason } from "./fence.js";

export type DestinationPhase =
  | "PASSIVE"
  | "RESERVED"
  | "RECEIVING"
  | "VERIFIED"
  | "RESTORING"
  | "PREPARED"
  | "OWNER"
  | "RUNNING"
  | "REFUSED"
  | "DISCARDED";

export interface DestinationState {
  phase: DestinationPhase;
  /** Set from RESERVED on. */
  migrationId?: string;
  /** The epoch this side would own. */
  epoch?: number;
  /** Manifest digest of the verified checkpoint. */
  digest?: string;
  reason?: string;
  /** Set when an operator's word stands in the place of the source's COMMIT. */
  fence?: Fence;
}

export type DestinationEvent =
  /** `isKnown`: the journal has a record of this migration; it had its chance. */
  | { type: "reserve"; migrationId: string; epoch: number; isKnown: boolean }
  | { type: "receive" }
  | { type: "verified"; digest: string }
  | { type: "restore" }
  /** The tree is complete, populated and frozen in the right cgroup. */
  | { type: "held" }
  | { type: "commit"; migrationId: string; epoch: number; digest: string }
  /** `ums takeover --fenced`: the source can never run again. */
  | { type: "fenced"; fence: Fence }
  | { type: "thawed" }
  | { type: "abort"; migrationId: string; reason: string }
  /** Any failure, expired lease or lost tree on this side. */
  | { type: "failed"; reason: string }
  /** `treeHeld`: the restored tree is still there, complete and frozen. */
  | { type: "restarted"; treeHeld: boolean };

/**
 * What the runner does once the state is durable. `query`: ask the source what it decided, until it
 * says. `own`: the service is ours. Answers need no effect: the source asks by Commit.
 */
export type DestinationEffect = "thaw" | "own" | "discard" | "query";

export interface DestinationStep {
  state: DestinationState;
  journal: boolean;
  effects: DestinationEffect[];
}

/** Phases in which this side may still refuse. */
const undecided: ReadonlySet<DestinationPhase> = new Set([
  "RESERVED",
  "RECEIVING",
  "VERIFIED",
  "RESTORING",
  "PREPARED",
]);

export function isReceiving(phase: DestinationPhase): boolean {
  return undecided.has(phase);
}

/** True where the restored service is here, held or running. */
export function isPrepared(phase: DestinationPhase): boolean {
  return phase === "PREPARED" || phase === "OWNER" || phase === "RUNNING";
}

/** True where this side has given its word never to run the migration's epoch. */
export function hasRefused(phase: DestinationPhase): boolean {
  return phase === "REFUSED" || phase === "DISCARDED";
}

export const initialDestination: DestinationState = { phase: "PASSIVE" };

/** An event that does not fit the state changes nothing: every message is idempotent (rule 9). */
export function reduceDestination(
  state: DestinationState,
  event: DestinationEvent,
): DestinationStep {
  switch (event.type) {
    case "reserve":
      return reserve(state, event);
    case "receive":
      return advance(state, "RESERVED", { phase: "RECEIVING" }, false);
    case "verified":
      return advance(state, "RECEIVING", { phase: "VERIFIED", digest: event.digest }, false);
    case "restore":
      return advance(state, "VERIFIED", { phase: "RESTORING" }, false);
    case "held":
      return advance(state, "RESTORING", { phase: "PREPARED" }, true, ["query"]);
    case "commit":
      if (!isSame(state, event)) return stay(state);
      return advance(state, "PREPARED", { phase: "OWNER" }, true, ["thaw"]);
    case "fenced": {
      const { fence } = event;
      const reason = fenceReason("takeover", fence);
      return advance(state, "PREPARED", { phase: "OWNER", reason, fence }, true, ["thaw"]);
    }
    case "thawed":
      return advance(state, "OWNER", { phase: "RUNNING" }, true, ["own"]);
    case "abort":
      if (state.migrationId !== event.migrationId || !undecided.has(state.phase)) {
        return stay(state);
      }
      return end(state, "DISCARDED", event.reason);
    case "failed":
      if (!undecided.has(state.phase)) return stay(state);
      return end(state, "REFUSED", event.reason);
    case "restarted":
      return restarted(state, event.treeHeld);
  }
}

/**
 * A migration that was here before is never begun again: after REFUSED its COMMIT may still be on
 * the way, and would start a second copy.
 */
function reserve(
  state: DestinationState,
  event: { migrationId: string; epoch: number; isKnown: boolean },
): DestinationStep {
  // RUNNING: the service came and, as the runner has made sure, has left again.
  const free: DestinationPhase[] = ["PASSIVE", "REFUSED", "DISCARDED", "RUNNING"];
  if (!free.includes(state.phase) || event.isKnown) return stay(state);
  const { migrationId, epoch } = event;
  return { state: { phase: "RESERVED", migrationId, epoch }, journal: true, effects: [] };
}

/**
 * After a restart the received files are no longer trusted to be complete, so all before PREPARED
 * ends in REFUSED; the source, not yet committed, thaws. A held tree is kept.
 */
function restarted(state: DestinationState, treeHeld: boolean): DestinationStep {
  switch (state.phase) {
    case "PREPARED":
      if (treeHeld) return { state, journal: false, effects: ["query"] };
      return end(state, "REFUSED", "the restored tree was lost");
    case "RESERVED":
    case "RECEIVING":
    case "VERIFIED":
    case "RESTORING":
      return end(state, "REFUSED", "the destination's supervisor was restarted");
    case "OWNER":
      return { state, journal: false, effects: ["thaw"] };
    case "RUNNING":
      return { state, journal: false, effects: ["own"] };
    case "REFUSED":
    case "DISCARDED":
      return { state, journal: false, effects: ["discard"] };
    case "PASSIVE":
      return stay(state);
  }
}

function isSame(
  state: DestinationState,
  commit: { migrationId: string; epoch: number; digest: string },
): boolean {
  return (
    state.migrationId === commit.migrationId &&
    state.epoch === commit.epoch &&
    state.digest === commit.digest
  );
}

function end(
  state: DestinationState,
  phase: "REFUSED" | "DISCARDED",
  reason: string,
): DestinationStep {
  return { state: { ...state, phase, reason }, journal: true, effects: ["discard"] };
}

function advance(
  state: DestinationState,
  from: DestinationPhase,
  change: Partial<DestinationState>,
  journal: boolean,
  effects: DestinationEffect[] = [],
): DestinationStep {
  if (state.phase !== from) return stay(state);
  return { state: { ...state, ...change }, journal, effects };
}

function stay(state: DestinationState): DestinationStep {
  return { state, journal: false, effects: [] };
}
