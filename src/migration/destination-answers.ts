/** What a destination says to calls that do not move it. */
import type { StreamKind } from "../approach/contract.js";
import { UmsError } from "../errors.js";
import type { Logger } from "../lib/log.js";
import type { Decision, Ref } from "../peer/client.js";
import { refused } from "../peer/token.js";
import type { Arrival } from "./destination-role.js";
import { type DestinationState, hasRefused, isReceiving } from "./destination-state.js";
import type { Journal } from "./journal.js";
import type { Origin } from "./origin.js";

/**
 * Whether a new migration may begin here.
 * @throws ERR_EPOCH_STALE, ERR_MIGRATION_IN_PROGRESS, ERR_DESTINATION_OCCUPIED
 */
export function checkFree(
  state: DestinationState,
  isOccupied: boolean,
  { migrationId }: Ref,
  isKnown: boolean,
): void {
  const { phase } = state;
  if (isKnown) {
    throw new UmsError("ERR_EPOCH_STALE", `migration ${migrationId} was here and has ended`);
  }
  if (isReceiving(phase) || phase === "OWNER") {
    throw new UmsError("ERR_MIGRATION_IN_PROGRESS", `another migration is ${phase} here`, {
      details: { migrationId: state.migrationId, phase },
    });
  }
  if (isOccupied) {
    throw new UmsError("ERR_DESTINATION_OCCUPIED", "a service runs in that outer container", {
      hint: "choose one started with UMS_START_MODE=passive, or one its service has left",
    });
  }
}

/**
 * A token is good for one migration, however that ended.
 * @throws ERR_TOKEN_REFUSED
 */
export function checkUnused(journal: Journal, tokenId: string | undefined): void {
  const migrationId = tokenId === undefined ? undefined : journal.usedFor(tokenId);
  if (migrationId !== undefined) throw refused(`it was used for migration ${migrationId}`);
}

/**
 * Whether a data stream may come now. The relay outlives its migration, and further ones; all else
 * belongs to the receiving.
 * @throws ERR_MIGRATION_NOT_FOUND
 */
export function checkExpected(
  { migrationId, phase }: DestinationState,
  journal: Journal,
  wanted: string,
  kind: StreamKind,
): void {
  const isCurrent = migrationId === wanted;
  const isExpected =
    kind === "relay"
      ? isCurrent || journal.find("destination", wanted) !== undefined
      : isCurrent && isReceiving(phase);
  if (!isExpected) throw unknownMigration(wanted);
}

/** @throws ERR_PEER_IDENTITY when the migration is another source's */
export function checkOwner(
  journal: Journal,
  origin: Origin | undefined,
  migrationId: string,
  sourceName: string,
): void {
  const owner =
    origin?.ref.migrationId === migrationId
      ? origin.source.name
      : journal.find("destination", migrationId)?.data?.peerName;
  if (owner === undefined || owner === sourceName) return;
  throw new UmsError("ERR_PEER_IDENTITY", `migration ${migrationId} is not ${sourceName}'s`);
}

/** @throws ERR_MANIFEST_MISMATCH */
export function checkDigest(expected: string, got: string): void {
  if (got === expected) return;
  throw new UmsError("ERR_MANIFEST_MISMATCH", "what arrived is not what the source sent", {
    details: { expected, got },
  });
}

/** @throws ERR_CRIU_RESTORE_FAILED */
export function checkHeld(isHeld: boolean): void {
  if (isHeld) return;
  throw new UmsError("ERR_CRIU_RESTORE_FAILED", "the restored service is not held frozen");
}

/**
 * Answers a commit of a migration that others came after. Without a record nothing is answered:
 * this could be another outer container at the old one's address, and only REFUSED may free the
 * source.
 * @throws ERR_MIGRATION_NOT_FOUND
 */
export function answerFromJournal(journal: Journal, ref: Ref, digest: string): Decision {
  const record = journal.find("destination", ref.migrationId);
  if (record?.role === "destination" && record.state.epoch === ref.epoch) {
    if (record.state.phase === "RUNNING") return { digest, timingsMs: {} };
    if (hasRefused(record.state.phase)) return refusal(record.state.reason);
  }
  throw unknownMigration(ref.migrationId);
}

export function refusal(reason = "the destination refused"): Decision {
  return { refused: new UmsError("ERR_CANCELLED", reason), timingsMs: {} };
}

export function unknownMigration(migrationId: string): UmsError {
  return new UmsError("ERR_MIGRATION_NOT_FOUND", `migration ${migrationId} is not known here`);
}

export function notPrepared({ phase, migrationId }: DestinationState): UmsError {
  return new UmsError("ERR_MIGRATION_NOT_FOUND", `there is nothing to take over (${phase})`, {
    hint: "only a service that is PREPARED here, frozen and whole, can be; see `ums status`",
    details: { migrationId, phase },
  });
}

/** Who knocks and is turned away is for this side's owner to know. @returns what was thrown */
export function turnedAway(log: Logger, { ref, source }: Arrival, thrown: unknown): unknown {
  const { code, message } = UmsError.from(thrown);
  log.warn({ code, source: source.name, ...ref }, message);
  return thrown;
}
