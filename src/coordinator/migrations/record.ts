/** What the Coordinator knows of one migration, kept durably: one JSON file each. */
import type { Untranslatable } from "../../orchestrators/contract.js";
import type { WorkloadSpec } from "../../orchestrators/workload.js";
import type { Problem } from "../problem.js";

/** In order; `failed` and `cancelled` follow any of them before `moved`. */
export const migrationStates = [
  "requested",
  "planned",
  "arranging",
  "guarded",
  "migrating",
  "moved",
  "cleaning",
  "done",
  "failed",
  "cancelled",
] as const;
export type MigrationState = (typeof migrationStates)[number];

/** What is done with the relay of a source that is to be deleted. */
export const frontmanModes = ["relay", "drain", "reset"] as const;
/**
 * - `relay`: what a kept source does; one that is deleted is deleted at once, its clients cut off;
 * - `drain`: no new conversations through the source, those that exist have `drainMs`;
 * - `reset`: as `drain`, and existing TCP connections are reset so that clients connect anew.
 */
export type FrontmanMode = (typeof frontmanModes)[number];

export interface MigrationRequest {
  /** Name or id of the workload in this system. */
  service: string;
  destination: {
    /** Name of a computing system that this Coordinator knows. */
    system: string;
    /** Name of the workload there; default: as here. */
    name?: string;
    /** Other published ports there, `6379/tcp` -> port; 0: any free one. Default: as here. */
    ports?: Record<string, number>;
  };
  /** Undefined: the fastest one that is possible. */
  approach?: string;
  frontman?: FrontmanMode;
  /** How long a drain takes at most. Default 30,000. */
  drainMs?: number;
  source: "delete" | "keep";
  /** Longest freeze accepted. */
  downtimeBudgetMs?: number;
}

/** Where the service is before the migration. */
export interface SourceRef {
  /** Of its Migration Interface, `host:port`. */
  peerAddress: string;
  /** Name in its certificate. */
  peerName: string;
}

/** Where it goes: what the destination's Coordinator has made. */
export interface ArrivalRef {
  peerAddress: string;
  peerName: string;
}

export interface MigrationProgress {
  /** State of docs/switchover.md, or a named step of it. */
  phase: string;
  bytesSent: number;
  /** 0: unknown. */
  bytesTotal: number;
  elapsedMs: number;
}

export interface MigrationResult {
  outcome: "moved";
  /** Where the service is now: the Migration Interface, `host:port`. */
  endpoint: string;
  /** From the request to the hand-over. */
  totalMs: number;
  /** Unknown when this Coordinator was not there at the hand-over. */
  freezeMs?: number;
  bytesSent: number;
  /** Of each state here (`coordinator.STATE`) and each step of the switch-over. */
  timingsMs: Record<string, number>;
}

export interface MigrationRecord {
  id: string;
  /** Idempotency key of the request, and who gave it. */
  key?: string;
  caller: string;
  request: MigrationRequest;
  /** The orchestrator's id of the workload: two names of one service are one. */
  workloadId: string;
  /** The migration that this one repeats. */
  retryOf?: string;
  state: MigrationState;
  /** Milliseconds since 1970, as all times here. */
  createdAt: number;
  updatedAt: number;
  spec?: WorkloadSpec;
  approach?: string;
  service?: SourceRef;
  arrival?: ArrivalRef;
  supervisorMigrationId?: string;
  progress?: MigrationProgress;
  result?: MigrationResult;
  /** Why it failed. */
  problem?: Problem;
  /** What people should know although it is no failure, e.g. settings that were left out. */
  notes: string[];
  untranslatable: Untranslatable[];
  isCancelRequested: boolean;
  /** The destination has said that the service runs there. */
  isConfirmed: boolean;
  /** The source outer container has said that the service has left it by this migration. */
  isSourceRetired: boolean;
  /** Final, and nothing of it is left behind: guard released, arrival kept or deleted. */
  isSettled: boolean;
  history: { state: MigrationState; at: number }[];
}
