/** The states of the switch-over's model (model.ts). */
import type { DestinationEffect, DestinationState } from "../../src/migration/destination-state.js";
import type { Journal, JournalRecord } from "../../src/migration/journal.js";
import type { SourceEffect, SourceState } from "../../src/migration/source-state.js";
import { readOwnership } from "../../src/supervisor/ownership.js";

export interface Limits {
  /** Migrations begun in all, by whichever side has the service. */
  migrations: number;
  /** Crashes of each supervisor. */
  crashes: number;
  /** Restarts of each outer container by its orchestrator. */
  restarts: number;
  /** Outer containers lost for good, with journal and all. */
  losses: number;
  /**
   * Whether somebody gives `--fenced` commands: only where the other side is lost for good, or
   * (lying) whenever a command is taken. Default: nobody does.
   */
  operator?: "honest" | "lying";
}

export type Side = "A" | "B";
export const other: Record<Side, Side> = { A: "B", B: "A" };

export interface Step {
  label: string;
  world: World;
  /** May happen, but nobody may count on it. */
  isFault: boolean;
}

export type Tree = "none" | "frozen" | "run";

/** What is in a supervisor's memory. */
export interface Memory {
  source: SourceState | undefined;
  destination: DestinationState;
  sourceEffects: SourceEffect[];
  destinationEffects: (DestinationEffect | "recover")[];
  /** The query loop runs. */
  isAsking: boolean;
}

export interface ModelJournal {
  lastRole: "source" | "destination" | undefined;
  source: SourceState | undefined;
  destination: DestinationState | undefined;
  /** Newest record of each role and migration. */
  found: Record<string, SourceState | DestinationState>;
}

export interface Outer {
  tree: Tree;
  journal: ModelJournal;
  memory: Memory | undefined;
  crashes: number;
  restarts: number;
  isLost: boolean;
}

export interface World {
  A: Outer;
  B: Outer;
  /** Messages ever sent: `KIND migration`. */
  net: string[];
  /** Which side began each migration. */
  begun: Side[];
}

/** A runs the service; B stands by. */
export function initialWorld(): World {
  const source: SourceState = { phase: "ACTIVE", epoch: 1, issuedEpoch: 1 };
  return {
    A: outer("run", { lastRole: "source", source, destination: undefined, found: {} }),
    B: outer("none", {
      lastRole: undefined,
      source: undefined,
      destination: undefined,
      found: {},
    }),
    net: [],
    begun: [],
  };
}

function outer(tree: Tree, journal: ModelJournal): Outer {
  const starting: Outer = {
    tree,
    journal,
    memory: undefined,
    crashes: 0,
    restarts: 0,
    isLost: false,
  };
  return { ...starting, memory: remember(journal) };
}

/** A supervisor that has just started. */
export function remember(journal: ModelJournal): Memory {
  const { source, destination } = readOwnership(asJournal(journal), true);
  return {
    source,
    destination,
    sourceEffects: [],
    destinationEffects: [],
    isAsking: false,
  };
}

/** The reading half of a journal, as readOwnership wants it. */
export function asJournal(model: ModelJournal): Journal {
  const record = (role: "source" | "destination") =>
    model[role] === undefined
      ? undefined
      : ({ role, state: model[role], seq: 1, at: "" } as JournalRecord);
  return {
    last: model.lastRole === undefined ? undefined : record(model.lastRole),
    lastOf: record,
    find: () => undefined,
    usedFor: () => undefined,
    append: () => Promise.reject(new TypeError("the model writes by itself")),
    close: () => Promise.resolve(),
  };
}

/** Why it failed, and who said so, decides nothing; without it there are fewer states. */
export function withoutReason<T extends { reason?: string; fence?: unknown }>(state: T): T {
  const { reason: _, fence: __, ...rest } = state;
  return rest as T;
}

/** Recovery comes before anything is asked of the source; a destination may be asked earlier. */
export function isRecovering(memory: Memory): boolean {
  return memory.destinationEffects.includes("recover");
}

export function digestOf(migrationId: string): string {
  return `digest-${migrationId}`;
}

export function indexOf(migrationId: string): number {
  return Number(migrationId.slice(1)) - 1;
}
