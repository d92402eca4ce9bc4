/**
 * The contract behind which the approaches hide: what the switch-over (migration/) needs done at
 * each end, whatever carries the service. Container level is the first.
 */
import type { Duplex } from "node:stream";
import type { Facts, Flow, ServiceSpec } from "../spec.js";

/** A dump is given this long before its CRIU counts as hung; the service is frozen meanwhile. */
export const dumpTimeoutMs = 10 * 60_000;

/** Kinds of data-channel streams of a migration. */
export type StreamKind = "image" | "sync" | "pages" | "files" | "relay";

/** What a source needs of the migration it belongs to. */
export interface SourceSession {
  migrationId: string;
  /** How many of the image's layers the destination has, from the base up; all: undefined. */
  knownLayers: number | undefined;
  /** Mounts whose content the destination provides itself; known after its provisioning. */
  keptMounts: string[];
  openStream(kind: StreamKind, name: string): Promise<Duplex>;
  /** The destination's name, by its certificate; undefined before it was reached. */
  peerName(): string | undefined;
  /** Aborted when the migration fails or is cancelled; ends transfers, never a dump. */
  signal: AbortSignal;
  /** `bytes` more have been sent. */
  onBytes(bytes: number): void;
  /** A named step took so long, for the report. */
  onTiming(step: string, ms: number): void;
}

export interface Departure {
  spec: ServiceSpec;
  /** Resident memory now. */
  memoryBytes: number;
  /** Root-file-system changes and volumes now. */
  diskBytes: number;
  /** How many the service has; a peer is not told. */
  processes?: number;
}

/** A departure as the destination admits it. */
export interface AdmittedDeparture extends Departure {
  /** Most memory that may come, bytes; left out: what there is room for. */
  maxMemoryBytes?: number;
}

export interface Dumped {
  /** Digest of the manifest of all that was sent. */
  digest: string;
  /** Connections that existed at the freeze. */
  flows: Flow[];
}

/** The end that has the service. */
export interface SourceSide {
  facts(): Promise<Facts>;
  /** @throws ERR_RESOURCE_UNSUPPORTED naming what cannot be moved */
  describe(): Promise<Departure>;
  /** Sends the image layers the destination lacks. Called before the destination provisions. */
  sendImage(session: SourceSession): Promise<void>;
  /** Sends files while the service runs. */
  presync(session: SourceSession): Promise<void>;
  /** Opens what the freeze will need; the destination is armed and takes the streams. */
  ready(session: SourceSession): Promise<void>;
  /** Holds the data plane, then freezes. */
  freeze(): Promise<void>;
  /** Dump, final file passes, all streamed. The service stays frozen. */
  dump(session: SourceSession): Promise<Dumped>;
  /** Lets the service run here again and releases what was held. Idempotent, also from cold. */
  thaw(): Promise<void>;
  /** After a restart: sends traffic to where the service is now. */
  relay(): Promise<void>;
  /** Sends held and later traffic to the destination and ends the frozen copy. Idempotent. */
  depart(): Promise<void>;
}

/** The end that receives the service. One migration at a time. */
export interface DestinationSide {
  facts(): Promise<Facts>;
  /**
   * Checks that the service can live here. Creates nothing.
   * @throws ERR_NO_ROOM, ERR_PEER_INCOMPATIBLE, ERR_VOLUME_NOT_EMPTY, ERR_DESTINATION_OCCUPIED
   */
  reserve(departure: AdmittedDeparture): Promise<{ hasImage: boolean; knownLayers: number }>;
  /** Creates volumes, network and the container, not started. */
  provision(): Promise<{ containerId: string; keptMounts: string[] }>;
  /** Starts the engine's part of the start, up to the restore gate. */
  arm(): Promise<void>;
  /** Takes a data stream of the peer `source`; resolves when it is used up. */
  accept(kind: StreamKind, name: string, stream: Duplex, source: string): Promise<void>;
  /** Resolves with the manifest's digest once all of it has come and is right. */
  verified(): Promise<string>;
  /** Restores, held. Resolves when the tree is complete, populated and frozen. */
  restore(flows: Flow[]): Promise<void>;
  /** Whether the restored tree is there, populated and frozen. Also from cold. */
  isHeld(): Promise<boolean>;
  /** Lets the restored service run. Idempotent, also from cold; then it is started afresh. */
  thaw(): Promise<void>;
  /** Ends a restored tree that never ran and deletes everything received. Idempotent. */
  discard(): Promise<void>;
}
