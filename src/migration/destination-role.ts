/** The destination of a migration, as the rest of the supervisor sees it, and what it needs. */
import type { Duplex } from "node:stream";
import type { Departure, DestinationSide, StreamKind } from "../approach/contract.js";
import type { Faults } from "../lib/faults.js";
import type { Logger } from "../lib/log.js";
import type { Decision, Ref } from "../peer/client.js";
import type { Facts, Flow } from "../spec.js";
import type { Admit } from "./admission.js";
import type { AskSource, SourceAddress } from "./ask-source.js";
import type { DestinationState } from "./destination-state.js";
import type { Fence } from "./fence.js";
import type { Journal, JournalData } from "./journal.js";

export interface DestinationRunnerDeps {
  side: DestinationSide;
  admit: Admit;
  journal: Journal;
  log: Logger;
  /** Whether a service lives here already, so that none can be received. */
  isOccupied(): boolean;
  /** The service is ours and runs. Repeated until it succeeds, and after a restart. */
  onOwned(epoch: number): Promise<void>;
  askSource: AskSource;
  faults: Faults;
  /** How long a reservation lives without a sign of the source, ms. Default 10 min. */
  leaseMs?: number;
}

export interface Arrival {
  ref: Ref;
  departure: Departure;
  facts: Facts;
  /** Its name is that of the certificate it has shown. */
  source: SourceAddress & { name: string };
  /** Of that certificate (peer/token.ts). */
  thumbprint: string | undefined;
  /** Issued here; empty: the source shows none. */
  token: string;
}

/** What a source needs to go on. */
export interface Room {
  facts: Facts;
  hasImage: boolean;
  knownLayers: number;
}

export interface DestinationRunner {
  readonly state: DestinationState;
  /** @throws ERR_PEER_IDENTITY when the migration is another source's */
  checkSource(migrationId: string, sourceName: string): void;
  /**
   * Idempotent: the same migration of the same source is answered as before.
   * @throws ERR_NOT_ALLOWED, ERR_TOKEN_REFUSED before anything else is looked at;
   *   ERR_MIGRATION_IN_PROGRESS, ERR_DESTINATION_OCCUPIED, ERR_EPOCH_STALE, ERR_NO_ROOM...
   */
  reserve(arrival: Arrival): Promise<Room>;
  provision(ref: Ref): Promise<{ keptMounts: string[] }>;
  arm(ref: Ref): Promise<void>;
  /** A data stream of the source `name`; throws before anything is read when it is not ours. */
  accept(
    migrationId: string,
    kind: StreamKind,
    name: string,
    stream: Duplex,
    source: string,
  ): Promise<void>;
  prepare(ref: Ref, flows: Flow[], digest: string): Promise<Decision>;
  /** @throws ERR_DEADLINE when the service is ours but could not be thawed yet; ask again */
  commit(ref: Ref, digest: string): Promise<Decision>;
  /** Resolves when the abort is durable; what was received is deleted after that. */
  abort(ref: Ref, reason: string): Promise<void>;
  /**
   * An operator's word that the source can never run: the service thaws here without its COMMIT. The
   * source is asked once more before; what it decided is done.
   * @throws ERR_NOT_FENCED when it is not dead; ERR_MIGRATION_NOT_FOUND when nothing waits here;
   *   ERR_DEADLINE when the service is ours but could not be thawed yet
   */
  takeOver(fence: Fence): Promise<void>;
  /** After a restart of the supervisor. */
  recover(): Promise<void>;
  /** The outer container ends: a service that is not handed over yet is refused and discarded. */
  stop(): Promise<void>;
  close(): void;
}

/** What a later supervisor must know besides the state. */
export function journalData(
  containerId: string | undefined,
  source: SourceAddress | undefined,
): JournalData {
  return {
    ...(containerId === undefined ? {} : { containerId }),
    ...(source === undefined ? {} : { peer: source.address }),
    ...(source?.name === undefined ? {} : { peerName: source.name }),
  };
}
