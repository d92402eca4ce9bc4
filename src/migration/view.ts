/** What operators see of a service and its migrations, on both ends of the wire. */
import type { UmsError } from "../errors.js";

export interface ServiceStatus {
  /** Empty while no service was ever here. */
  name: string;
  serviceId: string;
  image: string;
  /** State of docs/switchover.md. */
  state: string;
  epoch: number;
  migrationId: string;
  /** Where the service went or is going, `host:port`. */
  peer: string;
  here: "running" | "frozen" | "none";
  /** One sentence: who owns the service and what to do, if anything. */
  explanation: string;
  relayedPackets: number;
  relayedBytes: number;
}

export interface ProgressView {
  migrationId: string;
  phase: string;
  bytesSent: number;
  /** 0: unknown. */
  bytesTotal: number;
  elapsedMs: number;
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
