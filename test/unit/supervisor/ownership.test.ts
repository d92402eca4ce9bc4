/** What each newest record of the journal lets a starting supervisor do. */
import * as assert from "uvu/assert";
import { UmsError } from "../../../src/errors.js";
import type { DestinationPhase } from "../../../src/migration/destination-state.js";
import type { Journal, JournalEntry, JournalRecord } from "../../../src/migration/journal.js";
import { initialSource, type SourcePhase } from "../../../src/migration/source-state.js";
import { failureExitCode } from "../../../src/supervisor/exit.js";
import { type MayRun, readOwnership } from "../../../src/supervisor/ownership.js";
import { suite } from "../../lib/suite.js";

const test = suite("ownership");

const sourcePhases: Record<SourcePhase, MayRun> = {
  ACTIVE: "start",
  PREPARING: "start",
  PRECOPY: "start",
  FREEZING: "start",
  FROZEN: "start",
  COMMITTED: "adopt",
  DONE: "adopt",
  RETIRED: "none",
  ABORTED: "start",
  ROLLED_BACK: "start",
};

for (const [phase, mayRun] of Object.entries(sourcePhases)) {
  test(`source ${phase}: ${mayRun}`, () => {
    const state = { ...initialSource(3), phase: phase as SourcePhase };
    const ownership = readOwnership(journalOf({ role: "source", state }), true);
    assert.is(ownership.mayRun, mayRun);
    assert.equal(ownership.source, state);
  });
}

const destinationPhases: Record<DestinationPhase, MayRun> = {
  PASSIVE: "none",
  RESERVED: "none",
  RECEIVING: "none",
  VERIFIED: "none",
  RESTORING: "none",
  PREPARED: "adopt",
  OWNER: "adopt",
  RUNNING: "start",
  REFUSED: "none",
  DISCARDED: "none",
};

for (const [phase, mayRun] of Object.entries(destinationPhases)) {
  test(`destination ${phase}, also where a service was before: ${mayRun}`, () => {
    const left = { ...initialSource(1), phase: "RETIRED" as const };
    const state = { phase: phase as DestinationPhase, migrationId: "m2", epoch: 3 };
    const journal = journalOf({ role: "source", state: left }, { role: "destination", state });
    const ownership = readOwnership(journal, false);
    assert.is(ownership.mayRun, mayRun);
    // What was taken over becomes a source when the recovery has recorded it, not before.
    const isTakenOver = phase === "OWNER" || phase === "RUNNING";
    assert.equal(ownership.source, isTakenOver ? undefined : left);
    assert.equal(ownership.destination, state);
  });
}

test("no record: a service is started, or awaited by a passive outer container", () => {
  assert.is(readOwnership(journalOf(), false).mayRun, "start");
  assert.equal(readOwnership(journalOf(), false).source, initialSource(1));
  assert.is(readOwnership(journalOf(), true).mayRun, "none");
  assert.is(readOwnership(journalOf(), true).source, undefined);
});

test("a damaged journal is exit code 78", () => {
  assert.is(failureExitCode(new UmsError("ERR_JOURNAL_CORRUPT", "damaged")), 78);
});

function journalOf(...entries: JournalEntry[]): Journal {
  const records = entries.map((entry, index) => ({ ...entry, seq: index + 1, at: "" }));
  const newest = (role: JournalRecord["role"]) => records.findLast((entry) => entry.role === role);
  return {
    last: records.at(-1),
    lastOf: newest,
    find: () => undefined,
    usedFor: () => undefined,
    append: () => Promise.reject(new TypeError("only read")),
    close: () => Promise.resolve(),
  };
}

test.run();
