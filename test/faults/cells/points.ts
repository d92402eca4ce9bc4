/** The named points of a migration, in the order it meets them, and what a crash there leads to. */
import type { Arm, Outcome, Role } from "../cell.js";

export interface Point {
  on: Role;
  point: string;
  /** Where the service ends when the supervisor of that side, or both, die here. */
  ends: Outcome;
  /** What must fail for the migration to come here; undefined: every migration does. */
  because?: Arm;
}

const failDump: Arm = { on: "source", point: "source.do.dump", action: "fail" };
const failPrepare: Arm = { on: "source", point: "source.do.prepare", action: "fail" };
const failRestore: Arm = { on: "destination", point: "destination.do.restore", action: "fail" };

const source = (point: string, ends: Outcome, because?: Arm): Point => ({
  on: "source",
  point,
  ends,
  ...(because === undefined ? {} : { because }),
});
const destination = (point: string, ends: Outcome, because?: Arm): Point => ({
  ...source(point, ends, because),
  on: "destination",
});

/** Before COMMITTED is recorded. */
export const undecidedSource: readonly Point[] = [
  source("source.record.PREPARING", "aborted"),
  source("source.do.reserve", "aborted"),
  source("call.Reserve.send", "aborted"),
  source("call.Reserve.answer", "aborted"),
  source("source.record.PRECOPY", "aborted"),
  source("source.do.precopy", "aborted"),
  source("call.Provision.send", "aborted"),
  source("call.Provision.answer", "aborted"),
  source("call.Arm.send", "aborted"),
  source("call.Arm.answer", "aborted"),
  source("source.record.FREEZING", "aborted"),
  source("source.do.freeze", "aborted"),
  source("source.do.dump", "aborted"),
  source("source.record.FROZEN", "aborted"),
  source("source.do.prepare", "aborted"),
  source("call.Prepare.send", "aborted"),
  source("call.Prepare.answer", "aborted"),
  source("source.record.COMMITTED", "aborted"),
];

export const committedSource: readonly Point[] = [
  source("source.do.send-commit", "moved"),
  source("call.Commit.send", "moved"),
  source("call.Commit.answer", "moved"),
  source("source.record.DONE", "moved"),
  source("source.do.kill", "moved"),
  source("source.record.RETIRED", "moved"),
];

export const abortingSource: readonly Point[] = [
  source("source.record.ABORTED", "aborted", failDump),
  source("source.do.thaw", "aborted", failDump),
  source("source.record.ACTIVE", "aborted", failDump),
  source("source.do.send-abort", "aborted", failDump),
  source("call.Abort.send", "aborted", failPrepare),
  source("call.Abort.answer", "aborted", failPrepare),
];

export const undecidedDestination: readonly Point[] = [
  destination("destination.record.RESERVED", "aborted"),
  destination("destination.do.provision", "aborted"),
  destination("destination.do.arm", "aborted"),
  destination("destination.do.verify", "aborted"),
  destination("destination.do.restore", "aborted"),
  destination("destination.record.PREPARED", "aborted"),
];

export const committedDestination: readonly Point[] = [
  destination("destination.record.OWNER", "moved"),
  destination("destination.do.thaw", "moved"),
  destination("destination.record.RUNNING", "moved"),
  destination("destination.do.own", "moved"),
];

export const refusingDestination: readonly Point[] = [
  destination("destination.record.REFUSED", "aborted", failRestore),
  destination("destination.do.discard", "aborted", failRestore),
  destination("destination.record.DISCARDED", "aborted", failPrepare),
];

export const allPoints: readonly Point[] = [
  ...undecidedSource,
  ...committedSource,
  ...abortingSource,
  ...undecidedDestination,
  ...committedDestination,
  ...refusingDestination,
];

/** The faults that lead to `point`, and what is to happen there. */
export function armAt({ on, point, because }: Point, action: Arm["action"]): Arm[] {
  return [...(because === undefined ? [] : [because]), { on, point, action }];
}
