/**
 * What the journal says about the service when a supervisor starts: whether it may run here. It
 * stands before everything else, because a copy started by mistake is a second copy.
 */
import { type DestinationState, initialDestination } from "../migration/destination-state.js";
import type { Journal } from "../migration/journal.js";
import { initialSource, type SourceState } from "../migration/source-state.js";

/**
 * `start`: the service is ours; take it over, or start it.
 * `adopt`: take over what is there, frozen as it is, and start nothing.
 * `none`: it is not here.
 */
export type MayRun = "start" | "adopt" | "none";

export interface Ownership {
  mayRun: MayRun;
  /**
   * Undefined while no service is owned here, and while the destination's recovery has not yet
   * taken one over: a migration that began in between would be forgotten by the taking over.
   */
  source: SourceState | undefined;
  destination: DestinationState;
}

export function readOwnership(journal: Journal, isPassive: boolean): Ownership {
  const { last } = journal;
  const received = journal.lastOf("destination");
  const destination = received?.role === "destination" ? received.state : initialDestination;
  if (last === undefined) {
    const source = isPassive ? undefined : initialSource(1);
    return { mayRun: isPassive ? "none" : "start", source, destination };
  }
  if (last.role === "source") {
    return { mayRun: mayRunSource(last.state), source: last.state, destination };
  }
  const kept = journal.lastOf("source");
  const earlier = kept?.role === "source" ? kept.state : undefined;
  switch (last.state.phase) {
    case "RUNNING":
      return { mayRun: "start", source: undefined, destination };
    case "OWNER":
      // Thawed by the destination's recovery, which also starts it if the tree is lost.
      return { mayRun: "adopt", source: undefined, destination };
    case "PREPARED":
      return { mayRun: "adopt", source: earlier, destination };
    default:
      return { mayRun: "none", source: earlier, destination };
  }
}

function mayRunSource(state: SourceState): MayRun {
  switch (state.phase) {
    case "RETIRED":
      return "none";
    case "COMMITTED":
    case "DONE":
      return "adopt";
    default:
      return "start";
  }
}
