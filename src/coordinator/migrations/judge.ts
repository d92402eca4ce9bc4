/** What the source outer container's status means for a migration of ours. Pure; never guesses. */
import type { ServiceStatus } from "../../migration/view.js";

/**
 * - `runs-here`: it is not being migrated; the service runs at the source;
 * - `moving`: our migration is under way;
 * - `handing-over`: ours is committed but not confirmed: only the destination may run it;
 * - `moved`: the service has left by our migration;
 * - `foreign`: another migration is under way, or took the service elsewhere.
 */
export type Verdict = "runs-here" | "moving" | "handing-over" | "moved" | "foreign";

export interface OurMigration {
  supervisorMigrationId?: string | undefined;
  /** Destination's Migration Interface, `host:port`, as it was given to the source. */
  peerAddress: string;
}

const undecided = ["PREPARING", "PRECOPY", "FREEZING", "FROZEN", "ABORTED", "ROLLED_BACK"];
const committed = ["COMMITTED", "DONE"];

/**
 * A Coordinator that died between its record and the first answer does not know the id that the
 * source gave the migration; its destination was made for it alone, so that tells as well.
 */
export function judge(status: ServiceStatus, ours: OurMigration): Verdict {
  if (status.state === "ACTIVE") return "runs-here";
  const { supervisorMigrationId: id, peerAddress } = ours;
  const isOurs = id === undefined ? status.peer === peerAddress : status.migrationId === id;
  if (!isOurs) return "foreign";
  if (status.state === "RETIRED") return "moved";
  if (committed.includes(status.state)) return "handing-over";
  return undecided.includes(status.state) ? "moving" : "foreign";
}
