/** `ums status` in every state of both halves of the switch-over. */
import { readFile } from "node:fs/promises";
import * as assert from "uvu/assert";
import type { DestinationPhase } from "../../../src/migration/destination-state.js";
import { destinationTable, sourceTable } from "../../../src/migration/explain.js";
import { createReport } from "../../../src/migration/report.js";
import { initialSource, type SourcePhase } from "../../../src/migration/source-state.js";
import { describeStatus, doubtSeconds, type StatusFacts } from "../../../src/supervisor/status.js";
import { suite } from "../../lib/suite.js";

const test = suite("status");
const since = "2026-01-02T03:04:05.000Z";
const peer = "b (10.0.0.2:9750)";

const sourcePhases = Object.keys(sourceTable) as SourcePhase[];
const destinationPhases = Object.keys(destinationTable) as DestinationPhase[];

test("the tables have the states of docs/switchover.md, and no other", async () => {
  const text = await readFile("docs/switchover.md", "utf8");
  const named = (heading: string) => {
    const section = text.slice(text.indexOf(`## ${heading}`)).split("\n## ")[0] ?? "";
    return [...section.matchAll(/^\| ([A-Z_*, ]+) \|/gm)].flatMap((match) =>
      (match[1] ?? "").replaceAll("*", "").split(", "),
    );
  };
  assert.equal(named("Source").sort(), [...sourcePhases].sort());
  assert.equal(named("Destination").sort(), [...destinationPhases].sort());
});

const sourceRows: Record<SourcePhase, [owner: string, here: string, inDoubt: boolean]> = {
  ACTIVE: ["here", "running", false],
  PREPARING: ["here", "running", false],
  PRECOPY: ["here", "running", false],
  FREEZING: ["here", "frozen", false],
  FROZEN: ["here", "frozen", false],
  COMMITTED: ["peer", "frozen", true],
  DONE: ["peer", "frozen", false],
  RETIRED: ["peer", "running", false],
  ABORTED: ["here", "running", false],
  ROLLED_BACK: ["here", "running", false],
};

for (const phase of sourcePhases) {
  test(`source ${phase}`, () => {
    const status = describeStatus(atSource(phase));
    assert.equal([status.owner, status.here, status.inDoubt], sourceRows[phase]);
    assert.equal([status.state, status.since, status.self], [phase, since, "a"]);
    assert.ok(status.explanation.length > 10);
    // Who has nothing to do needs no advice; everybody else gets some.
    assert.is(status.next === "", phase === "ACTIVE");
    const namesPeer = !["ACTIVE", "ABORTED", "ROLLED_BACK"].includes(phase);
    assert.is(status.explanation.includes(peer), namesPeer, status.explanation);
  });
}

const destinationRows: Record<DestinationPhase, [owner: string, here: string, inDoubt: boolean]> = {
  PASSIVE: ["nobody", "running", false],
  RESERVED: ["peer", "running", false],
  RECEIVING: ["peer", "running", false],
  VERIFIED: ["peer", "running", false],
  RESTORING: ["peer", "running", false],
  PREPARED: ["undecided", "frozen", true],
  OWNER: ["here", "frozen", true],
  RUNNING: ["here", "running", false],
  REFUSED: ["peer", "running", false],
  DISCARDED: ["peer", "running", false],
};

for (const phase of destinationPhases) {
  test(`destination ${phase}`, () => {
    const status = describeStatus(atDestination(phase));
    assert.equal([status.owner, status.here, status.inDoubt], destinationRows[phase]);
    assert.equal([status.state, status.since], [phase, since]);
    assert.ok(status.explanation.length > 10);
    assert.is(status.next === "", phase === "PASSIVE" || phase === "RUNNING");
  });
}

test("a source in doubt says why, and every way out", () => {
  const facts = atSource("COMMITTED");
  facts.source?.report?.doubt("Commit: no route");
  const { lastError, explanation, next } = describeStatus(facts);
  assert.is(lastError, "Commit: no route");
  assert.match(explanation, `handed over to ${peer}, which has not confirmed yet`);
  for (const way of ["ums commit export", "ums rollback --fenced", "/var/lib/ums"]) {
    assert.ok(next.includes(way), way);
  }
});

test("a destination in doubt says why, and every way out", () => {
  const { lastError, next } = describeStatus(atDestination("PREPARED"));
  assert.is(lastError, "Query: no route");
  const words = next.replaceAll("\n", " ");
  for (const way of ["ums commit import", "ums takeover --fenced", "/var/lib/ums"]) {
    assert.ok(words.includes(way), way);
  }
});

test("a rollback and a takeover by an operator are told from others", () => {
  const fence = { by: "operator alice", at: since };
  const facts = atSource("ACTIVE");
  const rolledBack = { ...initialSource(1), reason: "rollback --fenced by operator alice", fence };
  const status = describeStatus({ ...facts, source: source(rolledBack) });
  assert.is(status.fence, `operator alice at ${since}`);
  assert.match(status.explanation, "was rolled back: rollback --fenced by operator alice");
  const taken = describeStatus({
    ...facts,
    source: source(initialSource(2)),
    destination: { phase: "RUNNING", epoch: 2, fence },
  });
  assert.is(taken.fence, `operator alice at ${since}`);
});

test("a service that comes back is the destination's, until it is taken over", () => {
  const left = { ...initialSource(1), phase: "RETIRED" as const };
  const back = { ...atDestination("PREPARED"), source: source(left) };
  assert.is(describeStatus(back).state, "PREPARED");
  const refused = { ...atDestination("REFUSED"), source: source(left) };
  assert.is(describeStatus(refused).state, "RETIRED");
});

test("the age of a doubt goes on over restarts, and is 0 without one", () => {
  const doubt = describeStatus(atSource("COMMITTED"));
  assert.is(doubtSeconds(doubt, Date.parse(since) + 90_000), 90);
  assert.is(doubtSeconds(doubt, Date.parse(since) - 1), 0, "a clock that was set back");
  assert.is(doubtSeconds(describeStatus(atSource("ACTIVE")), Date.parse(since) + 90_000), 0);
});

function source(state: ReturnType<typeof initialSource>): StatusFacts["source"] {
  return {
    state,
    report: createReport("m1"),
    destination: { address: "10.0.0.2:9750", name: "b" },
  };
}

function atSource(phase: SourcePhase): StatusFacts {
  const state = { ...initialSource(1), phase, migrationId: "m1" };
  return {
    ...common,
    source: source(state),
    destination: { phase: "PASSIVE" },
    journal: journal({ role: "source", state, seq: 1, at: since }),
  };
}

function atDestination(phase: DestinationPhase): StatusFacts {
  const state = { phase, migrationId: "m1", epoch: 2 };
  const data = { peer: "10.0.0.2:9750", peerName: "b" };
  return {
    ...common,
    source: undefined,
    destination: state,
    journal: journal({ role: "destination", state, seq: 1, at: since, data }),
  };
}

function journal(record: NonNullable<StatusFacts["journal"]["last"]>): StatusFacts["journal"] {
  return { last: record, lastOf: (role) => (role === record.role ? record : undefined) };
}

const common = {
  announced: [],
  whyFronting: undefined,
  spec: undefined,
  service: { state: () => "running" as const },
  relayed: { packets: 0, bytes: 0 },
  self: "a",
  askError: "Query: no route",
};

test.run();
