/** What operators see of a service and its migrations, on both ends of the wire. */
import type { UmsError } from "../errors.js";
import type { Facts } from "../spec.js";
import type { Owner } from "./explain.js";

export interface ServiceStatus {
  /** Empty while no service was ever here. */
  name: string;
  serviceId: string;
  image: string;
  /** State of docs/switchover.md. */
  state: string;
  epoch: number;
  migrationId: string;
  /** Where the service went, is going or comes from, `host:port`. */
  peer: string;
  /** As the certificates have it; empty when unknown. */
  peerName: string;
  self: string;
  here: "running" | "frozen" | "none";
  owner: Owner;
  /** When the state was entered, RFC 3339. */
  since: string;
  /** Why the state is not left, or how the last migration failed. */
  lastError: string;
  /** One sentence: who owns the service and why. */
  explanation: string;
  /** What to do; empty when nothing is to be done. */
  next: string;
  inDoubt: boolean;
  /** Who ended a doubt by `--fenced`, and when. */
  fence: string;
  relayedPackets: number;
  relayedBytes: number;
}

/** What is said beside {@link ServiceStatus} about the traffic of a service. */
export interface TrafficStatus {
  /** `open`, `draining`, `drained`; `none` where the service has not left. */
  relayPhase: string;
  /** Conversations that are relayed now. */
  relayedFlows: number;
  /** Packets that wait for a frozen service at most, and that were dropped beyond that. */
  queuePackets: number;
  droppedPackets: number;
}

/** What an outer container offers, and what its service would need elsewhere. */
export interface FactsView {
  facts: Facts;
  /** Name in its certificate; empty without one. */
  peerName: string;
  /** Resident memory of the service now; 0 without a running service, as are the others. */
  memoryBytes: number;
  /** Root-file-system changes and volumes now. */
  diskBytes: number;
  processes: number;
  /** Why the service cannot be migrated as it is now. */
  obstacle?: UmsError;
}

export interface ProgressView {
  migrationId: string;
  phase: string;
  bytesSent: number;
  /** 0: unknown. */
  bytesTotal: number;
  elapsedMs: number;
  /** Why a committed migration is not confirmed yet; empty when there is no doubt. */
  doubt: string;
}

export interface ResultView {
  migrationId: string;
  outcome: string;
  /** `source` or `destination`. */
  runsOn: string;
  /** Where the service is now, when it has moved. */
  endpoint: string;
  totalMs: number;
  freezeMs: number;
  bytesSent: number;
  timingsMs: Record<string, number>;
  failure: UmsError | undefined;
}
