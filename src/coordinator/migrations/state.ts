/**
 * The state machine of a migration, pure: what happened makes the next record. The runner writes the
 * record durably before it does the new state's work.
 *
 * Rules: an event that does not fit the state changes nothing (a repeated or late one); from `moved`
 * on nothing fails or cancels a migration; a record is settled only by the end of its cleaning.
 */
import type { Untranslatable } from "../../orchestrators/contract.js";
import type { WorkloadSpec } from "../../orchestrators/workload.js";
import type { Problem } from "../problem.js";
import type {
  ArrivalRef,
  MigrationProgress,
  MigrationRecord,
  MigrationRequest,
  MigrationState,
  SourceRef,
} from "./record.js";

export interface Handover {
  endpoint: string;
  freezeMs?: number;
  bytesSent: number;
  timingsMs: Record<string, number>;
}

export type MigrationEvent =
  | { type: "planned"; service: SourceRef; spec: WorkloadSpec; approach: string; notes: string[] }
  | { type: "arranging" }
  | { type: "arrived"; arrival: ArrivalRef; untranslatable: Untranslatable[] }
  | { type: "guarded" }
  | { type: "identified"; supervisorMigrationId: string }
  | { type: "progress"; progress: MigrationProgress }
  | { type: "moved"; handover: Handover }
  | { type: "kept"; isConfirmed: boolean }
  | { type: "retired" }
  | { type: "noted"; note: string }
  | { type: "cleaned" }
  | { type: "failed"; problem: Problem }
  | { type: "cancel-requested" }
  | { type: "cancelled" };

export interface NewMigration {
  id: string;
  key?: string;
  caller: string;
  request: MigrationRequest;
  workloadId: string;
  retryOf?: string;
}

export function newRecord(migration: NewMigration, nowMs: number): MigrationRecord {
  return {
    ...migration,
    state: "requested",
    createdAt: nowMs,
    updatedAt: nowMs,
    notes: [],
    untranslatable: [],
    isCancelRequested: false,
    isConfirmed: false,
    isSourceRetired: false,
    isSettled: false,
    history: [{ state: "requested", at: nowMs }],
  };
}

const finals: ReadonlySet<MigrationState> = new Set(["done", "failed", "cancelled"]);
const handedOver: ReadonlySet<MigrationState> = new Set(["moved", "cleaning", "done"]);

/** True when the outcome is known; cleaning may still be under way ({@link MigrationRecord}). */
export function isFinal(state: MigrationState): boolean {
  return finals.has(state);
}

/** True once the service runs at the destination. */
export function hasMoved(state: MigrationState): boolean {
  return handedOver.has(state);
}

/** True while the migration can still be called off. */
export function isOpen(state: MigrationState): boolean {
  return !finals.has(state) && !handedOver.has(state);
}

/** The same record when the event does not fit. */
export function reduceMigration(
  record: MigrationRecord,
  event: MigrationEvent,
  nowMs: number,
): MigrationRecord {
  switch (event.type) {
    case "planned": {
      const { service, spec, approach, notes } = event;
      const change = { service, spec, approach, notes: [...record.notes, ...notes] };
      return advance(record, "requested", "planned", nowMs, change);
    }
    case "arranging":
      return advance(record, "planned", "arranging", nowMs);
    case "arrived": {
      const { arrival, untranslatable } = event;
      return advance(record, "arranging", "guarded", nowMs, { arrival, untranslatable });
    }
    case "guarded":
      return advance(record, "guarded", "migrating", nowMs);
    case "identified": {
      const { supervisorMigrationId } = event;
      if (record.state !== "migrating") return record;
      if (record.supervisorMigrationId !== undefined) return record;
      return { ...record, supervisorMigrationId, updatedAt: nowMs };
    }
    case "progress":
      if (record.state !== "migrating") return record;
      return { ...record, progress: event.progress, updatedAt: nowMs };
    case "moved":
      return moved(record, event.handover, nowMs);
    case "kept":
      return advance(record, "moved", "cleaning", nowMs, { isConfirmed: event.isConfirmed });
    case "retired":
      if (record.state !== "cleaning" || record.isSourceRetired) return record;
      return { ...record, isSourceRetired: true, updatedAt: nowMs };
    case "noted":
      if (record.notes.includes(event.note)) return record;
      return { ...record, notes: [...record.notes, event.note], updatedAt: nowMs };
    case "cleaned":
      return cleaned(record, nowMs);
    case "failed":
      if (!isOpen(record.state)) return record;
      return enter(record, "failed", nowMs, { problem: event.problem });
    case "cancel-requested":
      if (!isOpen(record.state) || record.isCancelRequested) return record;
      return { ...record, isCancelRequested: true, updatedAt: nowMs };
    case "cancelled":
      return isOpen(record.state) ? enter(record, "cancelled", nowMs) : record;
  }
}

function moved(record: MigrationRecord, handover: Handover, nowMs: number): MigrationRecord {
  if (record.state !== "migrating") return record;
  const next = enter(record, "moved", nowMs);
  const totalMs = nowMs - record.createdAt;
  const timingsMs = { ...stateTimings(next), ...handover.timingsMs };
  return { ...next, result: { outcome: "moved", ...handover, totalMs, timingsMs } };
}

function cleaned(record: MigrationRecord, nowMs: number): MigrationRecord {
  if (record.isSettled) return record;
  if (record.state === "cleaning") return enter(record, "done", nowMs, { isSettled: true });
  if (record.state === "failed" || record.state === "cancelled") {
    return { ...record, isSettled: true, updatedAt: nowMs };
  }
  return record;
}

/** How long the record was in each state that it has left. */
export function stateTimings({ history }: MigrationRecord): Record<string, number> {
  return Object.fromEntries(
    history
      .slice(1)
      .map(({ at }, index) => [
        `coordinator.${history[index]?.state ?? ""}`,
        at - (history[index]?.at ?? at),
      ]),
  );
}

function advance(
  record: MigrationRecord,
  from: MigrationState,
  to: MigrationState,
  nowMs: number,
  change: Partial<MigrationRecord> = {},
): MigrationRecord {
  return record.state === from ? enter(record, to, nowMs, change) : record;
}

function enter(
  record: MigrationRecord,
  state: MigrationState,
  nowMs: number,
  change: Partial<MigrationRecord> = {},
): MigrationRecord {
  const history = [...record.history, { state, at: nowMs }];
  return { ...record, ...change, state, updatedAt: nowMs, history };
}
