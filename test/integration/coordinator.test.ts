/** Two Coordinators over real HTTPS with fake orchestrators and fake outer containers. */
import * as assert from "uvu/assert";
import { CoordinatorPair } from "../lib/coordinator-pair.js";
import { suite } from "../lib/suite.js";
import { withDirectory } from "../lib/temporary.js";

const test = suite("coordinator");

function withPair(use: (pair: CoordinatorPair) => Promise<void>): () => Promise<void> {
  return () =>
    withDirectory(async (directory) => {
      const pair = await CoordinatorPair.open(directory);
      try {
        await use(pair);
      } finally {
        await pair.close();
      }
    });
}

test(
  "moves a service, deletes its source and says where it is",
  withPair(async (pair) => {
    const source = await pair.fakes.a.addService("shop");
    const accepted = await pair.migrate();
    assert.is(accepted.status, 202, JSON.stringify(accepted.body));
    assert.is(accepted.headers["location"], `/v1/migrations/${accepted.body.id}`);
    const done = await pair.settled(accepted.body.id);
    assert.is(done.state, "done", JSON.stringify(done));
    assert.equal(
      done.history.map(({ state }: { state: string }) => state),
      ["requested", "planned", "arranging", "guarded", "migrating", "moved", "cleaning", "done"],
    );
    const arrival = pair.fakes.b.arrival();
    assert.is(done.result.endpoint, arrival?.outer.address);
    assert.is(done.result.freezeMs, 400);
    assert.is(done.result.timingsMs.dump, 100);
    assert.ok("coordinator.arranging" in done.result.timingsMs);
    assert.equal(pair.world.running(), ["b/shop"]);
    assert.equal([...pair.fakes.a.workloads.keys()], []);
    assert.equal([...pair.fakes.a.guards], []);
    assert.is(source.drains, 1);
    assert.is(source.orders.length, 1);
    assert.equal(arrival?.spec.env.at(-1), {
      name: "UMS_ALLOW_FROM",
      value: "peer-of-a-shop",
    });
  }),
);

test(
  "keeps the source when it is asked to, under another name and port",
  withPair(async (pair) => {
    await pair.fakes.a.addService("shop");
    const destination = { system: "b", name: "shop-b", ports: { "6379/tcp": 0 } };
    const { body } = await pair.migrate({ source: "keep", destination });
    const done = await pair.settled(body.id);
    assert.is(done.state, "done");
    assert.is(pair.fakes.a.workloads.size, 1);
    assert.equal(pair.world.running(), ["b/shop-b"]);
    assert.is(pair.fakes.b.arrival()?.spec.ports[0]?.published, 0);
  }),
);

test(
  "a migration that fails leaves the service and nothing else",
  withPair(async (pair) => {
    const source = await pair.fakes.a.addService("shop");
    source.course = "fails";
    const { body } = await pair.migrate();
    const failed = await pair.settled(body.id);
    assert.is(failed.state, "failed");
    assert.is(failed.problem.code, "ERR_CRIU_DUMP_FAILED");
    assert.equal(pair.world.running(), ["a/shop"]);
    assert.is(pair.fakes.b.workloads.size, 0);
    assert.equal([...pair.fakes.a.guards], []);
    source.course = "moves";
    const again = await pair.ask("a", `/v1/migrations/${body.id}/retry`, { method: "POST" });
    assert.is(again.status, 202);
    assert.is(again.body.retryOf, body.id);
    assert.is((await pair.settled(again.body.id)).state, "done");
    assert.equal(pair.world.running(), ["b/shop"]);
  }),
);

test(
  "the same key and request are one migration, another request is refused",
  withPair(async (pair) => {
    const source = await pair.fakes.a.addService("shop");
    const key = { "idempotency-key": "k1" };
    const answers = await Promise.all([1, 2, 3].map(() => pair.migrate({}, key)));
    assert.equal(
      answers.map(({ status }) => status),
      [202, 202, 202],
    );
    assert.is(new Set(answers.map(({ body }) => body.id)).size, 1);
    const other = await pair.migrate({ source: "keep" }, key);
    assert.is(other.status, 409);
    assert.is(other.body.code, "ERR_REQUEST_CONFLICT");
    await pair.settled(answers[0]?.body.id);
    assert.is(source.orders.length, 1);
    // Long after the service has gone from here, too.
    assert.is((await pair.migrate({}, key)).body.id, answers[0]?.body.id);
  }),
);

test(
  "two requests for one service: the second is told of the first",
  withPair(async (pair) => {
    const source = await pair.fakes.a.addService("shop");
    source.course = "pauses";
    const [first, second] = await Promise.all([pair.migrate(), pair.migrate()]);
    const [won, lost] = first.status === 202 ? [first, second] : [second, first];
    assert.is(lost.status, 409);
    assert.is(lost.body.code, "ERR_MIGRATION_IN_PROGRESS");
    assert.is(lost.body.details.migrationId, won.body.id);
    await pair.until(won.body.id, ({ progress }) => progress !== undefined);
    source.go();
    assert.is((await pair.settled(won.body.id)).state, "done");
  }),
);

test(
  "a cancelled migration leaves the service where it is",
  withPair(async (pair) => {
    const source = await pair.fakes.a.addService("shop");
    source.course = "pauses";
    const { body } = await pair.migrate();
    await pair.until(body.id, ({ supervisorMigrationId }) => supervisorMigrationId !== undefined);
    const path = `/v1/migrations/${body.id}/cancel`;
    assert.is((await pair.ask("a", path, { method: "POST" })).status, 202);
    assert.is((await pair.settled(body.id)).state, "cancelled");
    assert.equal(pair.world.running(), ["a/shop"]);
    assert.is(pair.fakes.b.workloads.size, 0);
    assert.equal([...pair.fakes.a.guards], []);
    assert.is((await pair.ask("a", path, { method: "POST" })).body.state, "cancelled");
    assert.is(source.state, "ACTIVE");
  }),
);

test(
  "another Coordinator's migration of the same service is not disturbed",
  withPair(async (pair) => {
    const source = await pair.fakes.a.addService("shop");
    pair.fakes.a.script.set("guard", () => {
      source.state = "PRECOPY";
      source.migrationId = "of-another";
    });
    const { body } = await pair.migrate();
    const failed = await pair.settled(body.id);
    assert.is(failed.problem.code, "ERR_MIGRATION_IN_PROGRESS");
    assert.is(source.state, "PRECOPY");
    assert.is(pair.fakes.b.workloads.size, 0);
    assert.is(pair.fakes.a.workloads.size, 1);
  }),
);

test(
  "a service that was changed meanwhile is not moved",
  withPair(async (pair) => {
    const source = await pair.fakes.a.addService("shop");
    pair.fakes.a.change = "scaled to 2";
    const failed = await pair.settled((await pair.migrate()).body.id);
    assert.is(failed.problem.code, "ERR_REQUEST_CONFLICT");
    assert.is(source.orders.length, 0);
    assert.is(pair.fakes.b.workloads.size, 0);
  }),
);

test(
  "shows services with what is possible, and systems",
  withPair(async (pair) => {
    await pair.fakes.a.addService("shop");
    const list = await pair.ask("a", "/v1/services");
    assert.is(list.body[0].name, "shop");
    assert.is(list.body[0].migration.possible, true);
    assert.is(list.body[0].migration.approaches[0].approach, "container");
    assert.is(list.body[0].migration.approaches[0].predictedDowntimeMs, 970);
    const planned = await pair.ask("a", "/v1/services/shop?to=b");
    assert.match(planned.body.migration.approaches[0].reasons[0], /known only once/);
    pair.fakes.b.lost = [{ setting: "sysctls.x", effect: "refused", reason: "not here" }];
    const refused = await pair.ask("a", "/v1/services/shop?to=b");
    assert.is(refused.body.migration.possible, false);
    const systems = await pair.ask("a", "/v1/systems");
    assert.equal(
      systems.body.map(({ name, reachable }: { name: string; reachable: boolean }) => [
        name,
        reachable,
      ]),
      [
        ["a", true],
        ["b", true],
      ],
    );
  }),
);

test.run();
