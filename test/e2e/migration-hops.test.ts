/** Redis goes from A to B to C and back to A, used all the time through A's published port. */
import * as assert from "uvu/assert";
import { type OuterContainer, type OuterLab, openOuterLab } from "../lib/outer.js";
import { outerWithFixture } from "../lib/outer-image.js";
import {
  type CounterClient,
  countLostKeys,
  fillKeys,
  startCounter,
  whenRedisAnswers,
} from "../lib/redis-load.js";
import { requires } from "../lib/requires.js";
import { suite } from "../lib/suite.js";

const port = 6379;
const keyCount = 20_000;

const test = suite("migration of Redis from A to B to C to A");
let lab: OuterLab;
let a: OuterContainer;
let b: OuterContainer;
let c: OuterContainer;
let clients: CounterClient[] = [];

test.before(async () => {
  lab = await openOuterLab("ums-test-hops");
  const image = await outerWithFixture("redis");
  const volume = await lab.volume("data");
  [a, b, c] = await Promise.all([
    lab.start("a", { image, ports: [port], flags: ["-v", `${volume}:/data`] }),
    lab.start("b"),
    lab.start("c"),
  ]);
  const redis = await whenRedisAnswers(a.port(port));
  await fillKeys(redis, keyCount);
  redis.close();
  clients = [
    startCounter(a.port(port), { key: "established", isReconnecting: false }),
    startCounter(a.port(port), { key: "new", isReconnecting: true }),
  ];
});

test.after(async () => {
  await Promise.all(clients.map((client) => client.stop()));
  await lab?.close();
});

test("goes from A to B", () => hop(a, b));
test("goes from B to C", () => hop(b, c));
test("goes from C to A, onto the volume it came from", () => hop(c, a));

test("has every key", async () => {
  const redis = await whenRedisAnswers(a.port(port));
  assert.is(await countLostKeys(redis, keyCount), 0);
  redis.close();
});

test("failed no request on the old connection, nor on new ones", async () => {
  for (const client of clients) {
    const { answered, lost, failed, errors } = await client.stop();
    assert.is(lost + failed, 0, errors.join("; "));
    assert.ok(answered > 100, `${answered} requests`);
  }
});

test("has its append-only file whole, where it is now", async () => {
  const checked = await a.inService("redis-check-aof /data/appendonlydir/*.manifest");
  assert.match(checked, "All AOF files and manifest are valid");
});

async function hop(from: OuterContainer, to: OuterContainer): Promise<void> {
  const before = clients.map(({ answered }) => answered);
  await from.move(to);
  assert.is((await to.status()).here, "running");
  const redis = await whenRedisAnswers(a.port(port));
  redis.close();
  clients.forEach(({ answered }, index) => {
    assert.ok(answered > (before[index] ?? 0), `client ${index} stands still`);
  });
}

if (requires("root", "docker")) test.run();
