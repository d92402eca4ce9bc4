import * as assert from "uvu/assert";
import {
  createRelayDrain,
  type DrainRecord,
  type RelayDrain,
} from "../../../src/approach/container/relay-drain.js";
import { poll, sleep } from "../../../src/lib/deadline.js";
import { silentLogger } from "../../../src/lib/log.js";
import type { Hold } from "../../../src/network/hold.js";
import { suite } from "../../lib/suite.js";

const test = suite("the drain of a relay");

/** A hold that writes down what it is asked, a state file in memory, and a number of flows. */
function openFake(stored?: DrainRecord) {
  const fake = {
    flows: 2,
    stored,
    asked: [] as string[],
    restart(): RelayDrain {
      return createRelayDrain({
        hold: () => hold as unknown as Hold,
        relays: { start: () => {}, close: () => void fake.asked.push("keeper closed") },
        countFlows: async () => fake.flows,
        store: {
          read: async () => fake.stored,
          write: async (record) => {
            fake.stored = record;
          },
        },
        log: silentLogger(),
        intervalMs: 5,
      });
    },
  };
  const hold = {
    engage: async () => void fake.asked.push("engage"),
    refuse: async (what: string) => void fake.asked.push(`refuse ${what}`),
    detach: () => void fake.asked.push("detach"),
  };
  return fake;
}

const isDrained = (drain: RelayDrain) =>
  poll("the end of the drain", () => drain.phase === "drained", {
    timeoutMs: 2_000,
    intervalMs: 5,
  });

test("refuses new connections, and everything after the last flow has ended", async () => {
  const fake = openFake();
  const drain = fake.restart();
  await drain.begin(60_000);
  assert.equal(fake.asked, ["refuse new"]);
  await sleep(30);
  assert.is(drain.phase, "draining");
  fake.flows = 0;
  await isDrained(drain);
  assert.equal(fake.asked, ["refuse new", "refuse all", "keeper closed", "detach"]);
  assert.is(fake.stored?.phase, "drained");
});

test("ends at its deadline although flows go on, and not before", async () => {
  const fake = openFake();
  const drain = fake.restart();
  const startedMs = performance.now();
  await drain.begin(80);
  await isDrained(drain);
  assert.ok(performance.now() - startedMs >= 80);
});

test("goes on after a restart of the supervisor", async () => {
  const fake = openFake({ phase: "draining", deadlineMs: 60_000 });
  const drain = fake.restart();
  assert.is(await drain.resume(), true);
  assert.equal(fake.asked, ["engage", "refuse new"]);
  fake.flows = 0;
  await isDrained(drain);
  const later = fake.restart();
  fake.asked.length = 0;
  assert.is(await later.resume(), false);
  assert.equal(fake.asked, ["engage", "refuse new", "refuse all"]);
});

test("is forgotten when the service comes back", async () => {
  const fake = openFake({ phase: "drained", deadlineMs: 1 });
  const drain = fake.restart();
  await drain.resume();
  await drain.forget();
  fake.asked.length = 0;
  assert.is(await fake.restart().resume(), true);
  assert.equal(fake.asked, []);
});

test.run();
