/** A Coordinator ends in every phase of a migration; its successor carries on or cleans up. */
import * as assert from "uvu/assert";
import { UmsError } from "../../src/errors.js";
import { type Deferred, deferred } from "../../src/lib/deferred.js";
import { CoordinatorPair } from "../lib/coordinator-pair.js";
import type { FakeOuter } from "../lib/fake-outer.js";
import { suite } from "../lib/suite.js";
import { withDirectory } from "../lib/temporary.js";

const test = suite("coordinator restart");

interface Scene {
  pair: CoordinatorPair;
  source: FakeOuter;
  /** What the blocked step waits for. */
  gate: Deferred<void>;
}

function withScene(use: (scene: Scene) => Promise<void>): () => Promise<void> {
  return () =>
    withDirectory(async (directory) => {
      const pair = await CoordinatorPair.open(directory);
      const gate = deferred<void>();
      try {
        await use({ pair, source: await pair.fakes.a.addService("shop"), gate });
      } finally {
        gate.resolve();
        await pair.close();
      }
    });
}

/** The service runs at b alone, and nothing is left of the migration. */
async function assertDone({ pair, source }: Scene, id: string): Promise<void> {
  const done = await pair.settled(id);
  assert.is(done.state, "done", JSON.stringify(done));
  assert.equal(pair.world.running(), ["b/shop"]);
  assert.is(pair.fakes.a.workloads.size, 0);
  assert.is(pair.fakes.b.workloads.size, 1);
  assert.equal([...pair.fakes.a.guards], []);
  assert.is(source.orders.length, 1);
}

async function assertStayed({ pair }: Scene, id: string, code: string): Promise<void> {
  const failed = await pair.settled(id);
  assert.is(failed.state, "failed");
  assert.is(failed.problem.code, code);
  assert.equal(pair.world.running(), ["a/shop"]);
  assert.is(pair.fakes.a.workloads.size, 1);
  assert.is(pair.fakes.b.workloads.size, 0);
  assert.equal([...pair.fakes.a.guards], []);
}

/** Ends a while `step` of a fake is under way in `state`, then starts it again. */
async function restartIn(scene: Scene, state: string, on: "a" | "b", step: string, nth = 1) {
  const { pair, gate } = scene;
  let calls = 0;
  pair.fakes[on].script.set(step, () => {
    calls += 1;
    return calls === nth ? gate.promise : undefined;
  });
  const { body } = await pair.migrate();
  await pair.until(body.id, (migration) => migration.state === state && calls >= nth);
  const stopped = pair.stop("a");
  gate.resolve();
  await stopped;
  await pair.start("a");
  return body.id as string;
}

const phases: [state: string, on: "a" | "b", step: string, nth: number][] = [
  ["requested", "a", "read", 2],
  ["arranging", "b", "untilReady", 1],
  ["guarded", "a", "guard", 1],
  ["cleaning", "a", "remove", 1],
];
for (const [state, on, step, nth] of phases) {
  test(
    `${state}: carries on`,
    withScene(async (scene) => {
      await assertDone(scene, await restartIn(scene, state, on, step, nth));
    }),
  );
}

/** Ends a while the source migrates. */
async function stopWhileMigrating({ pair, source }: Scene): Promise<string> {
  source.course = "pauses";
  const { body } = await pair.migrate();
  await pair.until(body.id, ({ supervisorMigrationId }) => supervisorMigrationId !== undefined);
  await pair.stop("a");
  return body.id;
}

test(
  "migrating: watches what still runs",
  withScene(async (scene) => {
    const id = await stopWhileMigrating(scene);
    await scene.pair.start("a");
    await scene.pair.until(id, ({ state }) => state === "migrating");
    scene.source.go();
    await assertDone(scene, id);
  }),
);

test(
  "migrating: finds that the service has moved meanwhile",
  withScene(async (scene) => {
    const id = await stopWhileMigrating(scene);
    scene.source.go();
    await scene.pair.start("a");
    await assertDone(scene, id);
  }),
);

test(
  "migrating: finds that it failed meanwhile",
  withScene(async (scene) => {
    const id = await stopWhileMigrating(scene);
    scene.source.course = "fails";
    scene.source.go();
    await scene.pair.start("a");
    await assertStayed(scene, id, "ERR_CANCELLED");
  }),
);

test(
  "migrating: a source that does not answer decides nothing; the destination's word does",
  withScene(async (scene) => {
    const { pair, source } = scene;
    const id = await stopWhileMigrating(scene);
    await source.close();
    await pair.start("a");
    const asked = pair.fakes.b.calls.length;
    await new Promise((resolve) => setTimeout(resolve, 500));
    const { body } = await pair.ask("a", `/v1/migrations/${id}`);
    assert.is(body.state, "migrating");
    assert.is(pair.fakes.b.calls.slice(asked).includes("remove"), false);
    pair.fakes.b.arrival()?.outer.receive("service-1");
    source.state = "RETIRED";
    source.here = "none";
    await pair.until(id, ({ state }) => state === "moved" || state === "cleaning");
    // Not deleted before it has said itself that it has retired.
    assert.is(pair.fakes.a.workloads.size, 1);
    await source.open();
    await assertDone(scene, id);
  }),
);

test(
  "moved: the destination confirms when it is there again",
  withScene(async (scene) => {
    const { pair, source } = scene;
    source.course = "pauses";
    const { body } = await pair.migrate();
    await pair.until(body.id, ({ supervisorMigrationId }) => supervisorMigrationId !== undefined);
    await pair.stop("b");
    source.go();
    await pair.until(body.id, ({ state }) => state === "moved");
    await pair.stop("a");
    await pair.start("b");
    await pair.start("a");
    await assertDone(scene, body.id);
  }),
);

test(
  "failed: what was made is removed by the next Coordinator",
  withScene(async (scene) => {
    const { source } = scene;
    source.course = "fails";
    const id = await restartIn(scene, "failed", "a", "release");
    source.orders = [];
    await assertStayed(scene, id, "ERR_CRIU_DUMP_FAILED");
  }),
);

test(
  "the destination's Coordinator ends while it creates",
  withScene(async (scene) => {
    const { pair, gate } = scene;
    let calls = 0;
    pair.fakes.b.script.set("untilReady", () => {
      calls += 1;
      return calls === 1 ? gate.promise : undefined;
    });
    const { body } = await pair.migrate();
    await pair.until(body.id, ({ state }) => state === "arranging" && calls === 1);
    const stopped = pair.stop("b");
    gate.resolve();
    await stopped;
    await pair.start("b");
    await assertDone(scene, body.id);
  }),
);

test(
  "an orchestrator that is down while cleaning is asked again",
  withScene(async (scene) => {
    const { pair } = scene;
    pair.fakes.a.script.set("remove", () => {
      pair.fakes.a.script.delete("remove");
      throw new UmsError("ERR_ORCHESTRATOR_UNAVAILABLE", "down");
    });
    const { body } = await pair.migrate();
    await assertDone(scene, body.id);
  }),
);

test.run();
