/**
 * Both runners against each other, over a peer in memory and with real journals: the order of
 * records and effects, and where the service runs after each failure, cancel and restart.
 */
import * as assert from "uvu/assert";
import { type ErrorCode, UmsError } from "../../../src/errors.js";
import { poll, within } from "../../../src/lib/deadline.js";
import { deferred } from "../../../src/lib/deferred.js";
import { isReceiving } from "../../../src/migration/destination-state.js";
import { rejectsWith } from "../../lib/errors.js";
import { fakeDestination, fakeDigest } from "../../lib/fake-sides.js";
import { type Pair, phaseOf, withPair } from "../../lib/migration-pair.js";
import { suite } from "../../lib/suite.js";

const test = suite("migration runners");
const endTimeoutMs = 5_000;

test("moves the service, every record before the effects it allows", async () => {
  await withPair(async ({ events, migrate, source, destination }) => {
    const result = await migrate();
    assert.equal(result, { outcome: "moved", runsOn: "destination" });
    await phaseOf(source, "RETIRED");
    assert.is(destination.side.tree, "running");
    assert.equal(events.list, [
      "record PREPARING",
      "source.describe",
      "peer.reserve",
      "destination.reserve",
      "record RESERVED",
      "record PRECOPY",
      ...["peer.provision", "destination.provision", "source.presync"],
      ...["peer.arm", "destination.arm", "source.ready"],
      "record FREEZING",
      ...["source.freeze", "source.dump"],
      "record FROZEN",
      ...["peer.prepare", "destination.verified", "destination.restore"],
      "record PREPARED",
      "record COMMITTED",
      "peer.commit",
      "record OWNER",
      "destination.thaw",
      "record RUNNING",
      "owned",
      "record DONE",
      "source.depart",
      "record RETIRED",
    ]);
  });
});

const failingSteps: Record<string, number> = {
  "source.describe": 0,
  "peer.reserve": 0,
  "destination.reserve": 0,
  "peer.provision": 0,
  "destination.provision": 0,
  "source.presync": 0,
  "peer.arm": 0,
  "destination.arm": 0,
  "source.ready": 0,
  "source.freeze": 1,
  "source.dump": 1,
  "record FROZEN": 1,
  "peer.prepare": 1,
  "destination.verified": 1,
  "destination.restore": 1,
  "record PREPARED": 1,
  "record COMMITTED": 1,
};

for (const [step, freezes] of Object.entries(failingSteps)) {
  test(`${step} fails: thawed once, the reason kept, nothing left at the destination`, async () => {
    await withPair(async ({ events, migrate, source, destination }) => {
      events.script.set(step, () => {
        throw new UmsError("ERR_NO_ROOM", "scripted");
      });
      const result = await migrate();
      assert.is(result.outcome, "aborted");
      assert.is(result.runsOn, "source");
      assert.is(result.failure?.code, "ERR_NO_ROOM" satisfies ErrorCode);
      await phaseOf(source, "ACTIVE");
      assert.is(events.count("source.thaw"), 1);
      assert.is(events.count("source.freeze"), freezes);
      assert.is(events.count("peer.commit"), 0);
      await poll("no tree", () => destination.side.tree === "none", { timeoutMs: endTimeoutMs });
      // The abort is sent after the thaw, which matters more.
      const isFree = () => !isReceiving(destination.runner.state.phase);
      await poll("the destination's end", isFree, { timeoutMs: endTimeoutMs });
      events.script.delete(step);
      assert.is((await migrate()).outcome, "moved", "the next attempt");
      assert.is(source.runner.state.issuedEpoch, 3);
    });
  });
}

const cancelledSteps = ["peer.reserve", "source.presync", "source.dump", "peer.prepare"];

for (const step of cancelledSteps) {
  test(`cancelled during ${step}: aborted and thawed`, async () => {
    await withPair(async ({ events, migrate, source, destination }) => {
      events.script.set(step, async () => {
        await source.runner.cancel("by the test");
      });
      const result = await migrate();
      assert.is(result.outcome, "aborted");
      assert.is(result.failure?.code, "ERR_CANCELLED");
      assert.is(events.count("source.thaw"), 1);
      assert.is(events.count("record COMMITTED"), 0);
      await poll("no tree", () => destination.side.tree === "none", { timeoutMs: endTimeoutMs });
    });
  });
}

test("a cancel that comes after the decision is refused", async () => {
  await withPair(async ({ events, migrate, source }) => {
    events.script.set("peer.commit", () =>
      rejectsWith("ERR_MIGRATION_NOT_FOUND", source.runner.cancel("late")),
    );
    assert.is((await migrate()).outcome, "moved");
  });
});

test("a dump past the downtime budget is waited for, then the service thaws", async () => {
  await withPair(async ({ events, migrate }) => {
    events.script.set("source.dump", async () => {
      await poll("the abort", () => events.count("record ABORTED") > 0, { timeoutMs: 2_000 });
      assert.is(events.count("source.thaw"), 0, "no thaw in the middle of a dump");
    });
    const result = await migrate(30);
    assert.is(result.failure?.code, "ERR_DEADLINE");
    assert.is(events.count("source.thaw"), 1);
    assert.is(events.count("peer.prepare"), 0);
  });
});

test("the thaw does not wait for a restore that is late, and what it restored is discarded", async () => {
  await withPair(async ({ events, migrate, destination }) => {
    const late = deferred<void>();
    events.script.set("destination.restore", () => late.promise);
    const result = await migrate(50);
    assert.is(result.failure?.code, "ERR_DEADLINE");
    await poll("the abort", () => events.count("record DISCARDED") > 0, { timeoutMs: 2_000 });
    assert.is(events.count("destination.discard"), 0, "not while the restore is under way");
    late.resolve();
    await poll("the discard", () => events.count("destination.discard") > 0, { timeoutMs: 2_000 });
    assert.is(destination.side.tree, "none");
    assert.is(events.count("record PREPARED"), 0);
  });
});

test("a commit is repeated until it is answered, and the service thawed once", async () => {
  await withPair(async ({ events, migrate, source }) => {
    events.script.set("peer.commit", (attempt) => {
      if (attempt < 4) throw new UmsError("ERR_PEER_UNREACHABLE", "scripted");
    });
    assert.is((await migrate()).outcome, "moved");
    assert.is(events.count("peer.commit"), 4);
    assert.is(events.count("destination.thaw"), 1);
    await phaseOf(source, "RETIRED");
  });
});

test("a thaw that fails at first is repeated while commits are answered", async () => {
  await withPair(async ({ events, migrate, destination }) => {
    events.script.set("destination.thaw", (attempt) => {
      if (attempt < 3) throw new Error("scripted");
    });
    assert.is((await migrate()).outcome, "moved");
    assert.is(destination.side.tree, "running");
  });
});

test("a record of the abort that fails is repeated: the service does not stay frozen", async () => {
  await withPair(async ({ events, migrate }) => {
    events.script.set("source.dump", () => {
      throw new UmsError("ERR_CRIU_DUMP_FAILED", "scripted");
    });
    events.script.set("record ABORTED", (attempt) => {
      if (attempt < 3) throw new UmsError("ERR_NO_ROOM", "scripted");
    });
    const result = await migrate();
    assert.is(result.failure?.code, "ERR_CRIU_DUMP_FAILED");
    assert.is(events.count("source.thaw"), 1);
  });
});

test("of two requests at once one is refused", async () => {
  await withPair(async ({ source }) => {
    const options = { destination: fakeDestination, downtimeBudgetMs: 1_000 };
    const first = source.runner.migrate(options);
    await rejectsWith("ERR_MIGRATION_IN_PROGRESS", source.runner.migrate(options));
    const result = await within(endTimeoutMs, "the end", (await first).ended());
    assert.is(result.outcome, "moved");
  });
});

test("the next migration does not wait for the last one's abort to be delivered", async () => {
  await withPair(async ({ events, migrate }) => {
    const never = deferred<void>();
    events.script.set("source.presync", (attempt) => {
      if (attempt === 1) throw new UmsError("ERR_SYNC_FAILED", "scripted");
    });
    events.script.set("peer.abort", () => never.promise);
    assert.is((await migrate()).outcome, "aborted");
    // The destination has not heard of the abort, so it is still reserved: refused at once.
    assert.is((await migrate()).failure?.code, "ERR_MIGRATION_IN_PROGRESS");
    never.reject(new UmsError("ERR_PEER_UNREACHABLE", "scripted"));
  });
});

test("a source restarted in COMMITTED resends the commit", async () => {
  await withPair(async (pair) => {
    pair.events.script.set("peer.commit", () => {
      throw new UmsError("ERR_PEER_UNREACHABLE", "scripted");
    });
    void pair.migrate().catch(() => undefined);
    await phaseOf(pair.source, "COMMITTED");
    pair.events.script.delete("peer.commit");
    await pair.restartSource();
    await phaseOf(pair.source, "RETIRED");
    assert.is(pair.destination.side.tree, "running");
    assert.is(pair.events.count("source.thaw"), 0);
  });
});

test("a source restarted before COMMITTED aborts and thaws", async () => {
  await withPair(async (pair) => {
    const never = deferred<void>();
    pair.events.script.set("source.dump", () => never.promise);
    void pair.migrate().catch(() => undefined);
    await phaseOf(pair.source, "FREEZING");
    await pair.restartSource();
    await phaseOf(pair.source, "ACTIVE");
    assert.is(pair.events.count("source.thaw"), 1);
    await poll("no tree", () => pair.destination.runner.state.phase === "DISCARDED", {
      timeoutMs: 2_000,
    });
    never.resolve();
  });
});

test("a source restarted after its thaw tells the destination of the abort", async () => {
  await withPair(async (pair) => {
    const never = deferred<void>();
    pair.events.script.set("source.dump", () => {
      throw new UmsError("ERR_CRIU_DUMP_FAILED", "scripted");
    });
    pair.events.script.set("peer.abort", () => never.promise);
    await pair.migrate();
    await poll("the call", () => pair.events.count("peer.abort") === 1, { timeoutMs: 2_000 });
    pair.events.script.delete("peer.abort");
    await pair.restartSource();
    await poll("no tree", () => pair.destination.runner.state.phase === "DISCARDED", {
      timeoutMs: 2_000,
    });
    never.resolve();
  });
});

test("a destination that cannot delete what came tries again", async () => {
  await withPair(async (pair) => {
    pair.events.script.set("destination.restore", () => {
      throw new UmsError("ERR_CRIU_RESTORE_FAILED", "scripted");
    });
    pair.events.script.set("destination.discard", () => {
      pair.events.script.delete("destination.discard");
      throw new UmsError("ERR_DOCKERD_NOT_READY", "scripted");
    });
    await pair.migrate();
    const isAgain = () => pair.events.count("destination.discard") === 2;
    await poll("the second try", isAgain, { timeoutMs: 2_000 });
  });
});

test("a destination restarted in PREPARED keeps the tree and asks the source", async () => {
  await withPair(async (pair) => {
    await untilPrepared(pair);
    pair.destination.answers = undefined;
    await pair.restartDestination();
    assert.is(pair.destination.runner.state.phase, "PREPARED");
    assert.is(pair.destination.side.tree, "frozen");
    pair.destination.answers = { decision: "COMMIT", digest: fakeDigest };
    await poll("the thaw", () => pair.destination.side.tree === "running", { timeoutMs: 4_000 });
    const { migrationId = "", epoch = 0 } = pair.destination.runner.state;
    const again = await pair.destination.runner.prepare({ migrationId, epoch }, [], fakeDigest);
    assert.is(again.refused, undefined);
  });
});

test("a destination restarted in PREPARED whose tree is gone refuses; the source rolls back", async () => {
  await withPair(async (pair) => {
    await untilPrepared(pair);
    pair.destination.side.tree = "none";
    await pair.restartDestination();
    assert.is(pair.destination.runner.state.phase, "REFUSED");
    pair.events.script.delete("peer.commit");
    await phaseOf(pair.source, "ACTIVE");
    assert.is(pair.source.runner.state.reason, "the restored tree was lost");
    assert.is(pair.events.count("source.thaw"), 1);
    assert.is(pair.events.count("destination.thaw"), 0);
  });
});

test("a destination restarted in OWNER thaws", async () => {
  await withPair(async (pair) => {
    const never = deferred<void>();
    pair.events.script.set("destination.thaw", (attempt) =>
      attempt === 1 ? never.promise : undefined,
    );
    void pair.migrate().catch(() => undefined);
    await poll("OWNER", () => pair.destination.runner.state.phase === "OWNER", {
      timeoutMs: 2_000,
    });
    await pair.restartDestination();
    await poll("the thaw", () => pair.destination.side.tree === "running", { timeoutMs: 2_000 });
    await poll("owned", () => pair.events.count("owned") === 1, { timeoutMs: 2_000 });
    never.reject(new Error("the first supervisor is gone"));
  });
});

test("an answer that decides nothing leaves a PREPARED destination waiting", async () => {
  await withPair(async (pair) => {
    await untilPrepared(pair);
    pair.destination.answers = { decision: "UNKNOWN", digest: "" };
    await poll("two questions", () => pair.events.count("ask") >= 2, { timeoutMs: 4_000 });
    assert.is(pair.destination.runner.state.phase, "PREPARED");
    assert.is(pair.destination.side.tree, "frozen");
  });
});

test("calls of another migration change nothing, old ones are answered from the journal", async () => {
  await withPair(async ({ events, migrate, source, destination }) => {
    events.script.set("source.dump", (attempt) => {
      if (attempt === 1) throw new UmsError("ERR_CRIU_DUMP_FAILED", "scripted");
    });
    await migrate();
    const old = { migrationId: source.runner.state.migrationId ?? "", epoch: 2 };
    await phaseOf(source, "ACTIVE");
    await poll("the end", () => destination.runner.state.phase === "DISCARDED", {
      timeoutMs: 2_000,
    });
    assert.is((await migrate()).outcome, "moved");
    const { state } = destination.runner;
    assert.is((await destination.runner.commit(old, fakeDigest)).refused?.code, "ERR_CANCELLED");
    await destination.runner.abort(old, "late");
    await rejectsWith("ERR_MIGRATION_NOT_FOUND", destination.runner.prepare(old, [], fakeDigest));
    await rejectsWith("ERR_MIGRATION_NOT_FOUND", destination.runner.arm(old));
    const stranger = { migrationId: "never-seen", epoch: 2 };
    await rejectsWith("ERR_MIGRATION_NOT_FOUND", destination.runner.commit(stranger, fakeDigest));
    assert.equal(destination.runner.state, state);
    assert.is(destination.side.tree, "running");
  });
});

test("a reservation without a sign of the source ends in REFUSED", async () => {
  await withPair(
    async ({ events, source, destination }) => {
      const never = deferred<void>();
      events.script.set("source.presync", () => never.promise);
      await source.runner.migrate({ destination: fakeDestination, downtimeBudgetMs: 1_000 });
      await poll("the end", () => destination.runner.state.phase === "REFUSED", {
        timeoutMs: 2_000,
      });
      await poll("the discard", () => events.count("destination.discard") === 1, {
        timeoutMs: 2_000,
      });
      never.reject(new UmsError("ERR_CANCELLED", "scripted"));
      await phaseOf(source, "ACTIVE");
    },
    { leaseMs: 80 },
  );
});

/** Migrates as far as COMMITTED, with every commit lost. */
async function untilPrepared(pair: Pair): Promise<void> {
  pair.events.script.set("peer.commit", () => {
    throw new UmsError("ERR_PEER_UNREACHABLE", "scripted");
  });
  void pair.migrate().catch(() => undefined);
  await phaseOf(pair.source, "COMMITTED");
}

test.run();
