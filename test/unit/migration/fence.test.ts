/** What an operator's word does to either half of the switch-over, phase by phase. */
import * as assert from "uvu/assert";
import {
  type DestinationPhase,
  type DestinationState,
  reduceDestination,
} from "../../../src/migration/destination-state.js";
import {
  reduceSource,
  type SourcePhase,
  type SourceState,
} from "../../../src/migration/source-state.js";
import { suite } from "../../lib/suite.js";

const test = suite("fenced commands");
const fence = { by: "operator alice", at: "2026-01-02T03:04:05.000Z" };
const fenced = { type: "fenced", fence } as const;

const source = (phase: SourcePhase): SourceState => ({
  phase,
  epoch: 1,
  issuedEpoch: 2,
  migrationId: "m1",
  digest: "d",
});
const destination = (phase: DestinationPhase): DestinationState => ({
  phase,
  migrationId: "m1",
  epoch: 2,
  digest: "d",
});

test("a source in COMMITTED rolls back, says why, and burns the epoch", () => {
  const step = reduceSource(source("COMMITTED"), fenced);
  assert.equal([step.state.phase, step.journal], ["ROLLED_BACK", true]);
  assert.equal(step.effects, ["thaw", "send-abort"]);
  assert.equal(step.state.fence, fence);
  assert.match(step.state.reason ?? "", "rollback --fenced by operator alice at 2026-01-02");
  const active = reduceSource(step.state, { type: "thawed" }).state;
  assert.equal(active.fence, fence, "ums status still tells");
  const again = reduceSource(active, { type: "begin", migrationId: "m2" }).state;
  assert.equal([again.issuedEpoch, again.fence], [3, undefined]);
});

const otherSources: SourcePhase[] = [
  ...(["ACTIVE", "PREPARING", "PRECOPY", "FREEZING", "FROZEN"] as const),
  ...(["DONE", "RETIRED", "ABORTED", "ROLLED_BACK"] as const),
];
for (const phase of otherSources) {
  test(`a source in ${phase} is not moved by it`, () => {
    const state = source(phase);
    assert.equal(reduceSource(state, fenced), { state, journal: false, effects: [] });
  });
}

test("what the destination says after the rollback comes too late", () => {
  const { state } = reduceSource(source("COMMITTED"), fenced);
  assert.is(reduceSource(state, { type: "running", epoch: 2 }).state, state);
  assert.is(reduceSource(state, { type: "refused", epoch: 2, reason: "x" }).state, state);
});

test("a destination in PREPARED becomes the owner without a COMMIT, and says why", () => {
  const step = reduceDestination(destination("PREPARED"), fenced);
  assert.equal([step.state.phase, step.journal, step.effects], ["OWNER", true, ["thaw"]]);
  assert.equal(step.state.fence, fence);
  const running = reduceDestination(step.state, { type: "thawed" }).state;
  assert.equal([running.phase, running.fence], ["RUNNING", fence]);
});

const otherDestinations: DestinationPhase[] = [
  ...(["PASSIVE", "RESERVED", "RECEIVING", "VERIFIED", "RESTORING"] as const),
  ...(["OWNER", "RUNNING", "REFUSED", "DISCARDED"] as const),
];
for (const phase of otherDestinations) {
  test(`a destination in ${phase} is not moved by it`, () => {
    const state = destination(phase);
    assert.equal(reduceDestination(state, fenced), { state, journal: false, effects: [] });
  });
}

test("after a takeover neither an ABORT nor a failure stops the service", () => {
  const { state } = reduceDestination(destination("PREPARED"), fenced);
  const abort = { type: "abort", migrationId: "m1", reason: "x" } as const;
  assert.is(reduceDestination(state, abort).state, state);
  assert.is(reduceDestination(state, { type: "failed", reason: "x" }).state, state);
});

test("a source that comes back in FROZEN leaves the service to a destination taken over", () => {
  const back = (isTakenOver: boolean) =>
    reduceSource(source("FROZEN"), { type: "restarted", isTakenOver });
  assert.equal([back(true).state.phase, back(true).effects], ["DONE", ["kill"]]);
  assert.equal([back(false).state.phase, back(false).effects[0]], ["ABORTED", "thaw"]);
});

test("a source that comes back in COMMITTED hears RUNNING from a destination taken over", () => {
  const back = reduceSource(source("COMMITTED"), { type: "restarted", isTakenOver: true });
  assert.equal([back.state.phase, back.effects], ["COMMITTED", ["send-commit"]]);
  const { state } = reduceDestination(destination("PREPARED"), fenced);
  const commit = { type: "commit", migrationId: "m1", epoch: 2, digest: "d" } as const;
  assert.is(reduceDestination(state, commit).state, state);
  assert.is(reduceSource(back.state, { type: "running", epoch: 2 }).state.phase, "DONE");
});

test.run();
