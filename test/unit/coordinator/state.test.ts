import * as assert from "uvu/assert";
import { judge } from "../../../src/coordinator/migrations/judge.js";
import {
  type MigrationRecord,
  type MigrationState,
  migrationStates,
} from "../../../src/coordinator/migrations/record.js";
import {
  isFinal,
  isOpen,
  type MigrationEvent,
  newRecord,
  reduceMigration,
} from "../../../src/coordinator/migrations/state.js";
import { toProblem } from "../../../src/coordinator/problem.js";
import { UmsError } from "../../../src/errors.js";
import type { ServiceStatus } from "../../../src/migration/view.js";
import { fakeWorkloadSpec } from "../../lib/fake-orchestrator.js";
import { suite } from "../../lib/suite.js";

const test = suite("coordinator state");

const problem = toProblem(new UmsError("ERR_DEADLINE", "late"));
const service = { peerAddress: "s:1", peerName: "s" };
const arrival = { peerAddress: "d:1", peerName: "d" };

const events: Record<MigrationEvent["type"], MigrationEvent> = {
  planned: {
    type: "planned",
    service,
    spec: fakeWorkloadSpec("shop"),
    approach: "container",
    notes: ["n"],
  },
  arranging: { type: "arranging" },
  arrived: { type: "arrived", arrival, untranslatable: [] },
  guarded: { type: "guarded" },
  identified: { type: "identified", supervisorMigrationId: "m" },
  progress: {
    type: "progress",
    progress: { phase: "PRECOPY", bytesSent: 1, bytesTotal: 2, elapsedMs: 3 },
  },
  moved: {
    type: "moved",
    handover: { endpoint: "d:1", freezeMs: 5, bytesSent: 6, timingsMs: { dump: 7 } },
  },
  kept: { type: "kept", isConfirmed: true },
  retired: { type: "retired" },
  noted: { type: "noted", note: "something" },
  cleaned: { type: "cleaned" },
  failed: { type: "failed", problem },
  "cancel-requested": { type: "cancel-requested" },
  cancelled: { type: "cancelled" },
};

/** Where each event leads from each state; a pair that is not here changes nothing. */
const transitions: Partial<
  Record<MigrationEvent["type"], Partial<Record<MigrationState, MigrationState>>>
> = {
  planned: { requested: "planned" },
  arranging: { planned: "arranging" },
  arrived: { arranging: "guarded" },
  guarded: { guarded: "migrating" },
  moved: { migrating: "moved" },
  kept: { moved: "cleaning" },
  cleaned: { cleaning: "done" },
  failed: everyOpen("failed"),
  cancelled: everyOpen("cancelled"),
};

function everyOpen(to: MigrationState): Partial<Record<MigrationState, MigrationState>> {
  const open = ["requested", "planned", "arranging", "guarded", "migrating"] as const;
  return Object.fromEntries(open.map((state) => [state, to]));
}

function inState(state: MigrationState): MigrationRecord {
  const request = { service: "shop", destination: { system: "b" }, source: "delete" as const };
  const record = newRecord({ id: "1", caller: "c", request, workloadId: "w" }, 1_000);
  return { ...record, state };
}

test("every event in every state leads where it must, and nowhere else", () => {
  for (const state of migrationStates) {
    for (const event of Object.values(events)) {
      const before = inState(state);
      const after = reduceMigration(before, event, 2_000);
      const expected = transitions[event.type]?.[state] ?? state;
      assert.is(after.state, expected, `${event.type} in ${state}`);
      const isMove = expected !== state;
      assert.is(after.history.length, before.history.length + (isMove ? 1 : 0));
      if (isMove) assert.equal(after.history.at(-1), { state: expected, at: 2_000 });
    }
  }
});

test("from moved on nothing fails or cancels a migration", () => {
  for (const state of ["moved", "cleaning", "done"] as const) {
    for (const type of ["failed", "cancelled", "cancel-requested"] as const) {
      const record = inState(state);
      assert.is(reduceMigration(record, events[type], 2_000), record, `${type} in ${state}`);
    }
  }
});

test("an event that comes twice changes nothing the second time", () => {
  for (const state of migrationStates) {
    for (const event of Object.values(events)) {
      // How far it is may be told twice; it is not written.
      if (event.type === "progress") continue;
      const once = reduceMigration(inState(state), event, 2_000);
      assert.is(reduceMigration(once, event, 3_000), once, `${event.type} in ${state}`);
    }
  }
});

test("final states are settled by their cleaning alone", () => {
  for (const state of ["failed", "cancelled"] as const) {
    const record = inState(state);
    assert.is(record.isSettled, false);
    assert.is(reduceMigration(record, events.cleaned, 2_000).isSettled, true);
  }
  assert.is(reduceMigration(inState("cleaning"), events.cleaned, 2_000).isSettled, true);
  assert.is(reduceMigration(inState("moved"), events.cleaned, 2_000).isSettled, false);
});

test("every state is open, handed over, or a failure", () => {
  const open = migrationStates.filter(isOpen);
  assert.equal(open, ["requested", "planned", "arranging", "guarded", "migrating"]);
  assert.equal(migrationStates.filter(isFinal), ["done", "failed", "cancelled"]);
});

test("the result has the time in each state beside the switch-over's own", () => {
  let record = inState("requested");
  let nowMs = 1_000;
  for (const type of ["planned", "arranging", "arrived", "guarded", "moved"] as const) {
    nowMs += 100;
    record = reduceMigration(record, events[type], nowMs);
  }
  assert.equal(record.result, {
    outcome: "moved",
    endpoint: "d:1",
    freezeMs: 5,
    bytesSent: 6,
    totalMs: 500,
    timingsMs: {
      "coordinator.requested": 100,
      "coordinator.planned": 100,
      "coordinator.arranging": 100,
      "coordinator.guarded": 100,
      "coordinator.migrating": 100,
      dump: 7,
    },
  });
});

test("the source's status is read without guessing", () => {
  const status = (state: string, migrationId: string, peer = "d:1") =>
    ({ state, migrationId, peer }) as ServiceStatus;
  const known = { supervisorMigrationId: "m", peerAddress: "d:1" };
  const unknown = { peerAddress: "d:1" };
  assert.is(judge(status("ACTIVE", "m"), known), "runs-here");
  for (const state of ["PREPARING", "PRECOPY", "FREEZING", "FROZEN", "ABORTED", "ROLLED_BACK"]) {
    assert.is(judge(status(state, "m"), known), "moving", state);
  }
  for (const state of ["COMMITTED", "DONE"]) {
    assert.is(judge(status(state, "m"), known), "handing-over", state);
  }
  assert.is(judge(status("RETIRED", "m"), known), "moved");
  assert.is(judge(status("RETIRED", "other"), known), "foreign");
  assert.is(judge(status("PRECOPY", "other"), known), "foreign");
  // Which id ours got was never heard: its destination was made for it alone.
  assert.is(judge(status("RETIRED", "m"), unknown), "moved");
  assert.is(judge(status("RETIRED", "m", "elsewhere:1"), unknown), "foreign");
  assert.is(judge(status("PASSIVE", "m"), known), "foreign");
});

test.run();
