import * as assert from "uvu/assert";
import {
  type DisposalPolicy,
  type DnsAnswer,
  watchDisposal,
} from "../../../src/frontman/disposal.js";
import { silentLogger } from "../../../src/lib/log.js";
import { suite } from "../../lib/suite.js";

const test = suite("frontman: disposal");
const oldAddress = "192.0.2.1";
const newAddress = "198.51.100.1";

/** A watch over a clock, a resolver and a number of flows that the test sets. */
function world(policy: DisposalPolicy, newHost = newAddress) {
  const state = {
    nowMs: 5_000,
    flows: 0,
    answers: { svc: { addresses: [oldAddress], ttlSeconds: 60 } } as Record<string, DnsAnswer>,
  };
  const watch = watchDisposal({
    policy,
    newHost,
    activeFlows: () => state.flows,
    resolve: async (name) => {
      const answer = state.answers[name];
      if (answer === undefined) throw new Error("NXDOMAIN");
      return answer;
    },
    nowMs: () => state.nowMs,
    intervalMs: 1,
    log: silentLogger(),
    signal: new AbortController().signal,
  });
  const after = (ms: number) => {
    state.nowMs += ms;
    return watch.look();
  };
  return { state, watch, after };
}

test("without a condition it stays", async () => {
  const { after } = world({});
  const { isOver, reason } = await after(365 * 86_400_000);
  assert.not.ok(isOver);
  assert.is(reason, "it stays until it is deleted");
});

test("DNS: over when the name shows the new endpoint and the old TTL has passed since", async () => {
  const { state, after } = world({ dnsName: "svc" });
  assert.match((await after(1_000_000)).reason, /does not show the new endpoint/);
  state.answers["svc"] = { addresses: [newAddress], ttlSeconds: 5 };
  assert.match((await after(1)).reason, /may keep the old svc 60 s/);
  assert.not.ok((await after(59_999)).isOver);
  assert.ok((await after(1)).isOver);
});

test("DNS: the longest TTL seen counts, and one old address is too many", async () => {
  const { state, after } = world({ dnsName: "svc" });
  await after(0);
  state.answers["svc"] = { addresses: [oldAddress], ttlSeconds: 3 };
  await after(0);
  state.answers["svc"] = { addresses: [newAddress, oldAddress], ttlSeconds: 60 };
  assert.match((await after(600_000)).reason, /does not show the new endpoint alone/);
  state.answers["svc"] = { addresses: [newAddress], ttlSeconds: 3 };
  await after(0);
  assert.not.ok((await after(30_000)).isOver);
  state.answers["svc"] = { addresses: [oldAddress], ttlSeconds: 3 };
  assert.not.ok((await after(60_000)).isOver, "it was changed back");
  state.answers["svc"] = { addresses: [newAddress], ttlSeconds: 3 };
  await after(0);
  assert.not.ok((await after(59_000)).isOver, "counted from the second change");
  assert.ok((await after(1_000)).isOver);
});

test("DNS: a name that does not resolve ends nothing; the new endpoint may be a name", async () => {
  const { state, after } = world({ dnsName: "svc" }, "new.example");
  state.answers = {};
  assert.match((await after(1_000_000)).reason, /could not be looked up/);
  state.answers = {
    svc: { addresses: [newAddress], ttlSeconds: 10 },
    "new.example": { addresses: [newAddress], ttlSeconds: 10 },
  };
  assert.not.ok((await after(0)).isOver);
  assert.ok((await after(10_000)).isOver);
});

test("flows: over when none was seen for the whole time", async () => {
  const { state, after } = world({ idleMs: 1_000 });
  assert.match((await after(999)).reason, /idle for 1 s more/);
  state.flows = 3;
  assert.is((await after(50_000)).reason, "3 connections are open");
  state.flows = 0;
  assert.not.ok((await after(999)).isOver);
  assert.ok((await after(1)).isOver);
});

test("a deadline ends it whatever goes on, and each condition is enough by itself", async () => {
  const { state, after } = world({ deadlineMs: 10_000, idleMs: 20_000, dnsName: "svc" });
  state.flows = 1;
  const { isOver, reason } = await after(9_000);
  assert.not.ok(isOver);
  assert.match(reason, /at most 1 s more; 1 connections are open; svc does not show/);
  assert.is((await after(1_000)).reason, "10 s have passed");
});

test("the watch looks until it is over", async () => {
  const { state, watch } = world({ deadlineMs: 10 });
  const over = watch.over();
  await new Promise((resolve) => setTimeout(resolve, 5));
  assert.not.ok(watch.last().isOver);
  state.nowMs += 10;
  assert.ok((await over).isOver);
});

test.run();
