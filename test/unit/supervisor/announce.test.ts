/** When a new place is told, and when not, with targets that fail as wanted. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { UmsError } from "../../../src/errors.js";
import { poll, sleep } from "../../../src/lib/deadline.js";
import { silentLogger } from "../../../src/lib/log.js";
import type { JournalRecord } from "../../../src/migration/journal.js";
import { initialSource } from "../../../src/migration/source-state.js";
import type { ServiceSpec } from "../../../src/spec.js";
import {
  type Announcer,
  type Arrival,
  arrivalIn,
  createAnnouncer,
  describeAnnouncement,
  type Target,
} from "../../../src/supervisor/announce.js";
import { suite } from "../../lib/suite.js";
import { withDirectory } from "../../lib/temporary.js";

const spec = { serviceId: "service-1", name: "web" } as ServiceSpec;
const arrival: Arrival = { migrationId: "m1", epoch: 2, from: "192.0.2.1:9750", spec };
const owner = () => true;
const test = suite("announcements");

test("repeats what failed until it succeeds, each target by itself", async () => {
  await withAnnouncer([fake("dns", 3), fake("webhook", 0)], async (announcer, [dns, webhook]) => {
    announcer.announce(arrival, owner);
    await done(announcer, "dns");
    assert.is(dns?.calls, 4);
    assert.is(webhook?.calls, 1);
    const [state] = announcer.states();
    assert.equal(state, { target: "dns", isPending: false, failures: 3, detail: "dns told" });
  });
});

test("tells an operator what it waits for", async () => {
  await withAnnouncer([fake("dns", 1_000)], async (announcer) => {
    announcer.announce(arrival, owner);
    assert.is(describeAnnouncement(announcer.states()), "dns: not told yet");
    await poll("a failure", () => announcer.states()[0]?.failures !== 0, { timeoutMs: 2_000 });
    const text = describeAnnouncement(announcer.states());
    assert.is(text, "dns: not yet, not now (ERR_DNS_UNREACHABLE)");
  });
});

test("tells each arrival once, also after a restart of the supervisor", async () => {
  await withDirectory(async (directory) => {
    const target = fake("dns", 0);
    for (let start = 0; start < 3; start += 1) {
      const announcer = make(directory, [target]);
      announcer.announce(arrival, owner);
      announcer.announce(arrival, owner);
      await done(announcer, "dns");
      await announcer.close();
    }
    assert.is(target.calls, 1);
    const next = make(directory, [target]);
    next.announce({ ...arrival, migrationId: "m2", epoch: 4 }, owner);
    await done(next, "dns");
    await next.close();
    assert.is(target.calls, 2);
  });
});

test("goes on after a restart with what was not told, and only with that", async () => {
  await withDirectory(async (directory) => {
    const [dns, webhook] = [fake("dns", 1_000), fake("webhook", 0)];
    const first = make(directory, [dns, webhook]);
    first.announce(arrival, owner);
    await done(first, "webhook");
    await first.close();
    dns.failing = 0;
    const calls = dns.calls;
    const second = make(directory, [dns, webhook]);
    second.announce(arrival, owner);
    await done(second, "dns");
    await second.close();
    assert.is(dns.calls, calls + 1);
    assert.is(webhook.calls, 1);
    const told = JSON.parse(await readFile(join(directory, "announced.json"), "utf8"));
    assert.equal(Object.keys(told.versions).sort(), ["dns", "webhook"]);
  });
});

test("tells a changed address again after a restart", async () => {
  await withDirectory(async (directory) => {
    const target = fake("dns", 0);
    for (const version of ["192.0.2.1", "192.0.2.2"]) {
      target.text = version;
      const announcer = make(directory, [target]);
      announcer.announce(arrival, owner);
      await done(announcer, "dns");
      await announcer.close();
    }
    assert.is(target.calls, 2);
  });
});

test("tells nothing while the service is handed on, and goes on when it stays", async () => {
  await withAnnouncer([fake("dns", 0)], async (announcer, [dns]) => {
    let isOwner = false;
    announcer.announce(arrival, () => isOwner);
    await sleep(50);
    assert.is(dns?.calls, 0);
    isOwner = true;
    await done(announcer, "dns");
  });
});

test("ends when the service has left", async () => {
  await withAnnouncer([fake("dns", 1_000)], async (announcer, [dns]) => {
    announcer.announce(arrival, owner);
    await poll("a try", () => (dns?.calls ?? 0) > 0, { timeoutMs: 2_000, intervalMs: 1 });
    announcer.withdraw();
    await announcer.close();
    const calls = dns?.calls;
    await sleep(50);
    assert.is(dns?.calls, calls);
    assert.equal(announcer.states()[0]?.isPending, false);
  });
});

test("the journal says what is to be told", () => {
  const record = (phase: string, epoch: number) =>
    ({
      role: "destination",
      state: { phase, epoch, migrationId: "m1" },
      data: { peer: "192.0.2.1:9750" },
    }) as JournalRecord;
  const ask = (last: JournalRecord | undefined, source = initialSource(2)) =>
    arrivalIn({ lastOf: () => last }, source, spec);
  assert.equal(ask(record("RUNNING", 2)), arrival);
  assert.is(ask(undefined), undefined, "a service that never moved");
  assert.is(ask(record("OWNER", 2)), undefined, "not taken over yet");
  assert.is(ask(record("REFUSED", 3)), undefined);
  assert.is(ask(record("RUNNING", 1)), undefined, "an earlier stay");
  const left = { ...initialSource(2), phase: "RETIRED" as const };
  assert.is(ask(record("RUNNING", 2), left), undefined);
  const leaving = { ...initialSource(2), phase: "PRECOPY" as const };
  assert.equal(ask(record("RUNNING", 2), leaving), arrival);
});

interface FakeTarget extends Target {
  calls: number;
  /** So many tries fail. */
  failing: number;
  text: string;
}

function fake(name: string, failing: number): FakeTarget {
  const target: FakeTarget = {
    ...{ name, calls: 0, failing, text: "192.0.2.1" },
    version: () => target.text,
    async tell() {
      target.calls += 1;
      target.failing -= 1;
      if (target.failing >= 0) throw new UmsError("ERR_DNS_UNREACHABLE", "not now");
      return `${name} told`;
    },
  };
  return target;
}

function make(stateDir: string, targets: readonly Target[]): Announcer {
  const pauses = { initialMs: 1, maxMs: 5 };
  return createAnnouncer({ targets, stateDir, log: silentLogger(), pauses });
}

async function withAnnouncer(
  targets: FakeTarget[],
  use: (announcer: Announcer, targets: FakeTarget[]) => Promise<void>,
): Promise<void> {
  await withDirectory(async (directory) => {
    const announcer = make(directory, targets);
    try {
      await use(announcer, targets);
    } finally {
      await announcer.close();
    }
  });
}

async function done(announcer: Announcer, target: string): Promise<void> {
  const isDone = () => announcer.states().find((state) => state.target === target)?.isPending;
  await poll(`${target} is told`, () => isDone() === false, { timeoutMs: 5_000, intervalMs: 2 });
}

test.run();
