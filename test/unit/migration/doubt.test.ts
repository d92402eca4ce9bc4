/** An operator's orders in a doubt, with both runners, real journals and real certificates. */
import * as assert from "uvu/assert";
import { UmsError } from "../../../src/errors.js";
import { poll } from "../../../src/lib/deadline.js";
import { deferred } from "../../../src/lib/deferred.js";
import { silentLogger } from "../../../src/lib/log.js";
import { createDoubtOrders, type DoubtOrders } from "../../../src/migration/doubt.js";
import { signCommit, verifyCommit } from "../../../src/peer/commit-certificate.js";
import { type OwnIdentity, readIdentity } from "../../../src/peer/identity.js";
import { makeAuthority } from "../../lib/certificates.js";
import { rejectsWith } from "../../lib/errors.js";
import { type Pair, phaseOf, withPair } from "../../lib/migration-pair.js";
import { suite } from "../../lib/suite.js";
import { withDirectory } from "../../lib/temporary.js";

const test = suite("orders in a doubt");
const order = { isFenced: true, by: "operator alice" };

interface Doubt extends Pair {
  /** Itself, for ends that are replaced. */
  pair: Pair;
  atSource: DoubtOrders;
  atDestination: DoubtOrders;
  a: OwnIdentity;
  b: OwnIdentity;
}

/** COMMITTED at the source, PREPARED at the destination, and neither reaches the other. */
function inDoubt(name: string, check: (doubt: Doubt) => Promise<void>): void {
  test(name, () =>
    withDirectory(async (directory) => {
      const authority = await makeAuthority(directory);
      const a = readIdentity(await authority.issue("a"));
      const b = readIdentity(await authority.issue("b"));
      await withPair(async (pair) => {
        const cut = () => {
          throw new UmsError("ERR_PEER_UNREACHABLE", "scripted");
        };
        pair.events.script.set("peer.commit", cut);
        pair.events.script.set("peer.query", cut);
        pair.events.script.set("peer.abort", cut);
        void pair.migrate().catch(() => undefined);
        await phaseOf(pair.source, "COMMITTED");
        const shared = {
          source: () => pair.source.runner,
          serviceId: () => "service-1",
          log: silentLogger(),
        };
        const atSource = createDoubtOrders({
          ...shared,
          destination: pair.destination.runner,
          journal: pair.source.journal,
          identity: () => a,
        });
        const atDestination = createDoubtOrders({
          ...shared,
          destination: pair.destination.runner,
          journal: pair.destination.journal,
          identity: () => b,
        });
        await check({ ...pair, pair, atSource, atDestination, a, b });
      });
    }),
  );
}

inDoubt("nothing is done without --fenced", async (doubt) => {
  const { atSource, atDestination } = doubt;
  const unfenced = { isFenced: false, by: "operator alice" };
  for (const attempt of [atSource.rollBack(unfenced), atDestination.takeOver(unfenced)]) {
    const error = await attempt.then(() => undefined, UmsError.from);
    assert.is(error?.code, "ERR_NOT_FENCED");
    assert.match(error?.hint ?? "", "only if ALL of this is true");
  }
  assert.is(doubt.source.runner.state.phase, "COMMITTED");
  assert.is(doubt.destination.runner.state.phase, "PREPARED");
});

inDoubt(
  "a rollback thaws the source once, records who, and lets it migrate again",
  async (doubt) => {
    const { atSource, events, source, destination } = doubt;
    const done = await atSource.rollBack(order);
    assert.is(done.state, "ACTIVE");
    assert.is(events.count("source.thaw"), 1);
    const record = source.journal.find("source", done.migrationId);
    assert.is(record?.state.fence?.by, "operator alice");
    assert.match(record?.state.reason ?? "", "rollback --fenced by operator alice at ");
    await rejectsWith("ERR_MIGRATION_NOT_FOUND", atSource.rollBack(order));
    await rejectsWith("ERR_MIGRATION_NOT_FOUND", atSource.exportCommit());
    // Should the destination come back after all, it hears of it.
    destination.answers = { decision: "ABORT", digest: "" };
    await poll("the end", () => destination.runner.state.phase === "DISCARDED", {
      timeoutMs: 4_000,
    });
    assert.is(destination.side.tree, "none");
    events.script.clear();
    assert.is((await doubt.migrate()).outcome, "moved");
    assert.is(source.runner.state.issuedEpoch, 3);
  },
);

inDoubt("a rollback is refused by a destination that answers, and COMMITs go on", async (doubt) => {
  const { atSource, events, source } = doubt;
  events.script.delete("peer.query");
  await rejectsWith("ERR_NOT_FENCED", atSource.rollBack(order));
  assert.is(source.runner.state.phase, "COMMITTED");
  events.script.delete("peer.commit");
  await phaseOf(source, "RETIRED");
  assert.is(events.count("source.thaw"), 0);
});

inDoubt("a rollback that cannot be recorded leaves the COMMITs going", async (doubt) => {
  const { atSource, events, source } = doubt;
  events.script.set("record ROLLED_BACK", () => {
    throw new UmsError("ERR_NO_ROOM", "scripted");
  });
  await rejectsWith("ERR_NO_ROOM", atSource.rollBack(order));
  events.script.delete("peer.commit");
  await phaseOf(source, "RETIRED");
});

inDoubt("a source restarted after the rollback's record thaws", async ({ pair, events }) => {
  const { journal, runner } = pair.source;
  const fence = { by: "operator alice", at: "2026-01-02T03:04:05.000Z" };
  await journal.append({ role: "source", state: { ...runner.state, phase: "ROLLED_BACK", fence } });
  await pair.restartSource();
  await phaseOf(pair.source, "ACTIVE");
  assert.is(events.count("source.thaw"), 1);
  assert.equal(pair.source.runner.state.fence, fence);
});

for (const isTakenOver of [true, false]) {
  const end = isTakenOver ? "leaves the service to a destination taken over" : "aborts, thaws";
  test(`a source restarted in FROZEN asks first, and ${end}`, () =>
    withPair(async (pair) => {
      const never = deferred<void>();
      pair.events.script.set("record COMMITTED", () => never.promise);
      void pair.migrate().catch(() => undefined);
      const isReached = () => pair.events.count("record COMMITTED") === 1;
      await poll("the decision", isReached, { timeoutMs: 4_000 });
      assert.is(pair.source.runner.state.phase, "FROZEN");
      if (isTakenOver) await pair.destination.runner.takeOver({ by: "operator", at: "" });
      await pair.restartSource();
      await phaseOf(pair.source, isTakenOver ? "RETIRED" : "ACTIVE");
      assert.is(pair.events.count("peer.query"), 1);
      assert.is(pair.events.count("source.thaw"), isTakenOver ? 0 : 1);
      never.reject(new UmsError("ERR_CANCELLED", "the first supervisor is gone"));
    }));
}

inDoubt("a takeover thaws the destination once and records who", async (doubt) => {
  const { atDestination, events, destination, source } = doubt;
  await atDestination.takeOver(order);
  assert.is(destination.side.tree, "running");
  assert.is(events.count("destination.thaw"), 1);
  assert.is(destination.runner.state.phase, "RUNNING");
  assert.is(destination.runner.state.fence?.by, "operator alice");
  await rejectsWith("ERR_MIGRATION_NOT_FOUND", atDestination.takeOver(order));
  // Should the source come back after all, its COMMIT is answered: it ends its copy.
  events.script.delete("peer.commit");
  await phaseOf(source, "RETIRED");
  assert.is(events.count("source.thaw"), 0);
});

inDoubt("a takeover does what a source that answers has decided", async (doubt) => {
  const { atDestination, destination } = doubt;
  destination.answers = { decision: "PENDING", digest: "" };
  await rejectsWith("ERR_NOT_FENCED", atDestination.takeOver(order));
  assert.is(destination.runner.state.phase, "PREPARED");
  destination.answers = { decision: "ABORT", digest: "" };
  const refused = atDestination.takeOver(order);
  const error = await refused.then(() => undefined, UmsError.from);
  assert.ok(["ERR_NOT_FENCED", "ERR_MIGRATION_NOT_FOUND"].includes(error?.code ?? ""));
  assert.is(destination.runner.state.phase, "DISCARDED");
  assert.is(doubt.events.count("destination.thaw"), 0);
});

inDoubt("a takeover goes on where a stranger answers at the source's address", async (doubt) => {
  doubt.destination.answers = { decision: "UNKNOWN", digest: "" };
  await doubt.atDestination.takeOver(order);
  assert.is(doubt.destination.side.tree, "running");
});

inDoubt("an exported COMMIT starts the destination, as often as it comes", async (doubt) => {
  const { atSource, atDestination, events, destination, source, b } = doubt;
  const text = await atSource.exportCommit();
  const { claims } = await verifyCommit(text, b);
  assert.equal([claims.source, claims.destination, claims.epoch], ["a", "b", 2]);
  const imported = await atDestination.importCommit(text);
  assert.equal(imported, { migrationId: claims.migrationId, state: "RUNNING" });
  assert.equal(await atDestination.importCommit(text), imported);
  assert.is(events.count("destination.thaw"), 1);
  assert.is(destination.side.tree, "running");
  assert.is(source.runner.state.phase, "COMMITTED");
  events.script.delete("peer.commit");
  await phaseOf(source, "RETIRED");
  assert.ok(await atSource.exportCommit(), "also from a source that has retired");
});

inDoubt("a COMMIT that does not fit is refused with its reason", async (doubt) => {
  const { atSource, atDestination, destination, a, b } = doubt;
  const { claims } = await verifyCommit(await atSource.exportCommit(), b);
  const cases: [string, Partial<typeof claims>, OwnIdentity][] = [
    ["ERR_MIGRATION_NOT_FOUND", { migrationId: "00000000-0000-4000-8000-000000000009" }, a],
    ["ERR_EPOCH_STALE", { epoch: 3 }, a],
    ["ERR_MANIFEST_MISMATCH", { digest: "another" }, a],
    ["ERR_SERVICE_NOT_FOUND", { serviceId: "service-2" }, a],
    ["ERR_PEER_IDENTITY", { destination: "c" }, a],
    ["ERR_PEER_IDENTITY", { source: "b" }, b],
  ];
  for (const [code, change, signer] of cases) {
    const text = await signCommit(signer, { ...claims, ...change });
    const error = await atDestination.importCommit(text).then(() => undefined, UmsError.from);
    assert.is(error?.code, code, JSON.stringify(change));
  }
  assert.is(destination.runner.state.phase, "PREPARED");
  await destination.runner.abort({ migrationId: claims.migrationId, epoch: 2 }, "x");
  const late = atDestination.importCommit(await signCommit(a, claims));
  await rejectsWith("ERR_EPOCH_STALE", late);
  assert.is(doubt.events.count("destination.thaw"), 0);
});

test("there is no COMMIT to export before the decision", () =>
  withPair(async ({ source, destination }) => {
    const orders = createDoubtOrders({
      source: () => source.runner,
      destination: destination.runner,
      journal: source.journal,
      identity: () => {
        throw new TypeError("nothing is signed");
      },
      serviceId: () => "service-1",
      log: silentLogger(),
    });
    await rejectsWith("ERR_MIGRATION_NOT_FOUND", orders.exportCommit());
    await rejectsWith("ERR_MIGRATION_NOT_FOUND", orders.rollBack(order));
    await rejectsWith("ERR_MIGRATION_NOT_FOUND", orders.takeOver(order));
  }));

test.run();
