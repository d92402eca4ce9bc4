/** What a cell of the fault matrix is: one fault, at one state of one migration. */
import type { OuterOptions } from "../lib/outer.js";
import type { Pair } from "./pair.js";
import type { Side } from "./side.js";

export type Role = "source" | "destination";
/** Where the service must run at the end. */
export type Outcome = "moved" | "aborted" | "either";

/** A fault point that is armed before the migration starts (src/lib/faults.ts). */
export interface Arm {
  on: Role;
  point: string;
  action: "pause" | "fail" | "repeat" | "kill" | "stop";
}

export interface Cell {
  category: string;
  fault: string;
  /** Where in the migration it strikes. */
  state: string;
  expect: Outcome;
  /** From the request until both sides are at rest. Default 60 s. */
  boundMs?: number;
  arm?: readonly Arm[];
  /** What happens outside while the migration is under way; its failure fails the cell. */
  act?(scene: Scene): Promise<void>;
  /** Before anything is looked at: makes another pair of it. */
  prepare?(pair: Pair): Promise<void>;
  /** After all was checked; the output is checked once more. */
  finish?(pair: Pair): Promise<void>;
  /** Before the migration is asked for. */
  before?(scene: Scene): Promise<void>;
  /** After the sides are at rest, for what is special to this cell. */
  after?(scene: Scene): Promise<void>;
  /** Code with which the migration must have failed. */
  code?: string;
  /** An established connection of a client cannot outlive this fault. */
  breaksConnection?: boolean;
  /**
   * What a side makes only when it is needed may be missing: its outer container was started again,
   * or it could not make it.
   */
  mayLack?: boolean;
  /** How often the service may begin anew: its outer container was ended while it ran there. */
  restarts?: number;
  /** A pair of its own with these options, removed afterwards. */
  pair?: PairOptions;
  /** Downtime budget, ms. */
  budgetMs?: number;
  /** Of the subset that `make test` runs. */
  isFast?: boolean;
}

export interface PairOptions {
  source?: OuterOptions;
  destination?: OuterOptions;
  /** Whose engine has a small disk of its own. */
  withDisk?: Role;
  /** Arguments of the service. */
  args?: readonly string[];
}

/** What a cell's own steps work with. */
export interface Scene {
  pair: Pair;
  source: Side;
  destination: Side;
  side(role: Role): Side;
  /** The request to migrate; its outcome is not thrown. */
  migrating: Promise<MigrateEnd>;
  /** Asks for the migration again, e.g. in a third hop. */
  migrate(from: Side, to: Side): Promise<MigrateEnd>;
}

export interface MigrateEnd {
  outcome: "moved" | "aborted" | "unknown";
  code: string | undefined;
  message: string;
}

export function titleOf({ category, fault, state }: Cell): string {
  return `${category}: ${fault} @ ${state}`;
}
