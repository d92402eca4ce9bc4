/**
 * The destination's half of the switch-over, as a pure function (docs/switchover.md).
 *
 * OWNER and REFUSED exclude each other by the journal: that is the whole safety argument.
 */

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
}

export type DestinationEvent =
  | { type: "reserve"; migrationId: string; epoch: number }
  | { type: "receive" }
  | { type: "verified"; digest: string }
  | { type: "restore" }
  /** The tree is complete, populated and frozen in the right cgroup. */
  | { type: "held" }
  | { type: "commit"; migrationId: string; epoch: number; digest: string }
  | { type: "thawed" }
  | { type: "abort"; migrationId: string; reason: string }
  /** Any failure, expired lease or lost tree on this side. */
  | { type: "failed"; reason: string }
  /** `treeHeld`: the restored tree is still there, complete and frozen. */
  | { type: "restarted"; treeHeld: boolean };

export type DestinationEffect = "thaw" | "discard" | "send-refused" | "send-running" | "query";

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

export const initialDestination: DestinationState = { phase: "PASSIVE" };

/** An event that does not fit the state changes nothing: every message is idempotent (rule 9). */
export function reduceDestination(
  state: DestinationState,
  event: DestinationEvent,
): DestinationStep {
  switch (event.type) {
    case "reserve":
      return reserve(state, event.migrationId, event.epoch);
    case "receive":
      return advance(state, "RESERVED", { phase: "RECEIVING" }, false);
    case "verified":
      return advance(state, "RECEIVING", { phase: "VERIFIED", digest: event.digest }, false);
    case "restore":
      return advance(state, "VERIFIED", { phase: "RESTORING" }, false);
    case "held":
      return advance(state, "RESTORING", { phase: "PREPARED" }, true);
    case "commit":
      if (!isSame(state, event)) return stay(state);
      if (state.phase === "RUNNING") return { ...stay(state), effects: ["send-running"] };
      if (state.phase !== "PREPARED") return stay(state);
      return { state: { ...state, phase: "OWNER" }, journal: true, effects: ["thaw"] };
    case "thawed":
      if (state.phase !== "OWNER") return stay(state);
      return { state: { ...state, phase: "RUNNING" }, journal: true, effects: ["send-running"] };
    case "abort":
      if (state.migrationId !== event.migrationId || !undecided.has(state.phase)) {
        return stay(state);
      }
      return end(state, "DISCARDED", event.reason, ["discard"]);
    case "failed":
      if (!undecided.has(state.phase)) return stay(state);
      return end(state, "REFUSED", event.reason, ["send-refused", "discard"]);
    case "restarted":
      return restarted(state, event.treeHeld);
  }
}

function reserve(state: DestinationState, migrationId: string, epoch: number): DestinationStep {
  // RUNNING: the service came and, as the runner has made sure, has left again.
  const free: DestinationPhase[] = ["PASSIVE", "REFUSED", "DISCARDED", "RUNNING"];
  if (!free.includes(state.phase) || state.migrationId === migrationId) return stay(state);
  return { state: { phase: "RESERVED", migrationId, epoch }, journal: true, effects: [] };
}

/**
 * After a restart the received files are no longer trusted to be complete, so all before PREPARED
 * ends in REFUSED; the source, not yet committed, thaws. A held tree is kept and announced.
 */
function restarted(state: DestinationState, treeHeld: boolean): DestinationStep {
  switch (state.phase) {
    case "PREPARED":
      if (treeHeld) return { state, journal: false, effects: ["query"] };
      return end(state, "REFUSED", "the restored tree was lost", ["send-refused", "discard"]);
    case "RESERVED":
    case "RECEIVING":
    case "VERIFIED":
    case "RESTORING":
      return end(state, "REFUSED", "the destination's supervisor was restarted", [
        "send-refused",
        "discard",
      ]);
    case "OWNER":
      return { state, journal: false, effects: ["thaw"] };
    case "RUNNING":
      return { state, journal: false, effects: ["send-running"] };
    case "REFUSED":
      return { state, journal: false, effects: ["send-refused", "discard"] };
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
  effects: DestinationEffect[],
): DestinationStep {
  return { state: { ...state, phase, reason }, journal: true, effects };
}

function advance(
  state: DestinationState,
  from: DestinationPhase,
  change: Partial<DestinationState>,
  journal: boolean,
): DestinationStep {
  if (state.phase !== from) return stay(state);
  return { state: { ...state, ...change }, journal, effects: [] };
}

function stay(state: DestinationState): DestinationStep {
  return { state, journal: false, effects: [] };
}
