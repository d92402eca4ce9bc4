/** Whether a service that asks for it can be let in. */
import { checkCompatible } from "../approach/compatible.js";
import type { Admission } from "./admission.js";
import { checkFree, checkUnused } from "./destination-answers.js";
import type { Arrival, DestinationRunnerDeps, Room } from "./destination-role.js";
import type { DestinationState } from "./destination-state.js";

/**
 * Checks all that can be checked beforehand, the token's use first; creates nothing.
 * @throws ERR_TOKEN_REFUSED, ERR_EPOCH_STALE, ERR_MIGRATION_IN_PROGRESS, ERR_DESTINATION_OCCUPIED,
 *   ERR_PEER_VERSION, ERR_PEER_INCOMPATIBLE, ERR_NO_ROOM, ERR_VOLUME_NOT_EMPTY
 */
export async function findRoom(
  { side, journal, isOccupied }: DestinationRunnerDeps,
  state: DestinationState,
  { ref, departure, facts: theirs }: Arrival,
  { tokenId, ...granted }: Admission,
): Promise<Room> {
  checkUnused(journal, tokenId);
  const isKnown = journal.find("destination", ref.migrationId) !== undefined;
  checkFree(state, isOccupied(), ref, isKnown);
  const facts = await side.facts();
  checkCompatible(theirs, facts, departure.spec);
  return { facts, ...(await side.reserve({ ...departure, ...granted })) };
}
