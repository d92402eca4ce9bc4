/** What an outer container does when it is asked to stop, against real Coordinators with fakes. */
import { join } from "node:path";
import * as assert from "uvu/assert";
import { silentLogger } from "../../src/lib/log.js";
import { evacuate } from "../../src/supervisor/evacuate.js";
import { CoordinatorPair } from "../lib/coordinator-pair.js";
import { suite } from "../lib/suite.js";
import { withDirectory } from "../lib/temporary.js";

const test = suite("evacuation");

function withPair(use: (pair: CoordinatorPair) => Promise<void>): () => Promise<void> {
  return () =>
    withDirectory(async (directory) => {
      const pair = await CoordinatorPair.open(directory);
      await pair.authority.issue("peer-of-a-shop");
      await pair.authority.issue("another");
      try {
        await use(pair);
      } finally {
        await pair.close();
      }
    });
}

function ask(
  pair: CoordinatorPair,
  options: { peer?: string; to?: string; seconds?: number } = {},
) {
  const { peer = "peer-of-a-shop", to = "b", seconds = 30 } = options;
  return evacuate({
    config: {
      UMS_COORDINATOR: `https://127.0.0.1:${pair.ports["a"]}`,
      UMS_EVACUATE_TO: to,
      UMS_EVACUATE_TIMEOUT: seconds,
      UMS_TLS_DIR: join(pair.directory, `peer-${peer}`),
    },
    serviceId: "service-1",
    log: silentLogger(),
    pollMs: 50,
  });
}

test(
  "the service is elsewhere and its source is gone before the stop goes on",
  withPair(async (pair) => {
    await pair.fakes.a.addService("shop");
    assert.is(await ask(pair), true);
    assert.equal(pair.world.running(), ["b/shop"]);
    assert.is(pair.fakes.a.workloads.size, 0);
  }),
);

test(
  "another outer container's service is not moved, nor to a system nobody knows",
  withPair(async (pair) => {
    const source = await pair.fakes.a.addService("shop");
    assert.is(await ask(pair, { peer: "another" }), false);
    assert.is(await ask(pair, { to: "nowhere" }), false);
    assert.is(source.orders.length, 0);
    assert.equal((await pair.ask("a", "/v1/migrations")).body, []);
  }),
);

test(
  "when the time is over the migration is called off and the stop goes on",
  withPair(async (pair) => {
    const source = await pair.fakes.a.addService("shop");
    source.course = "pauses";
    assert.is(await ask(pair, { seconds: 3 }), false);
    const [{ id }] = (await pair.ask("a", "/v1/migrations")).body;
    assert.is((await pair.settled(id)).state, "cancelled");
    assert.equal(pair.world.running(), ["a/shop"]);
    assert.is(pair.fakes.b.workloads.size, 0);
  }),
);

test(
  "without a Coordinator that answers the stop goes on",
  withPair(async (pair) => {
    await pair.fakes.a.addService("shop");
    await pair.stop("a");
    assert.is(await ask(pair, { seconds: 5 }), false);
    assert.equal(pair.world.running(), ["a/shop"]);
  }),
);

test.run();
