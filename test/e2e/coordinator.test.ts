/**
 * Coordinators and real outer containers: a service is moved by a request, then saved from an outer
 * container that is stopped. The orchestrators are fakes; test/conformance/ has the real ones.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { poll } from "../../src/lib/deadline.js";
import { run } from "../../src/lib/exec.js";
import { bridgeAddress } from "../lib/bridge-address.js";
import { CoordinatorPair } from "../lib/coordinator-pair.js";
import { fakeWorkloadSpec } from "../lib/fake-orchestrator.js";
import { LabOrchestrator } from "../lib/lab-orchestrator.js";
import { type OuterContainer, type OuterLab, openOuterLab } from "../lib/outer.js";
import { outerWithFixture } from "../lib/outer-image.js";
import { suite } from "../lib/suite.js";

const prefix = process.env["UMS_TEST_PREFIX"] ?? "ums-test-coordinator";
const test = suite("Coordinators of real outer containers");
const count = "i=0; while :; do i=$((i+1)); echo $i >/tmp/count; sleep 0.1; done";

let directory: string;
let lab: OuterLab;
let pair: CoordinatorPair;
let a: LabOrchestrator;
let b: LabOrchestrator;

test.before(async () => {
  directory = await mkdtemp(join(tmpdir(), "ums-test-"));
  lab = await openOuterLab(prefix);
  pair = await CoordinatorPair.open(directory, false);
  const tls = (name: string) => pair.authority.issue(name);
  a = new LabOrchestrator({ lab, system: "a", tlsDirectory: await tls("outer-a") });
  b = new LabOrchestrator({ lab, system: "b", tlsDirectory: await tls("outer-b") });
  Object.assign(pair.orchestrators, { a, b });
  const env = { UMS_COORDINATOR_LISTEN: `0.0.0.0:${pair.ports["a"]}` };
  await pair.start("a", env);
  await pair.start("b");
  await startSource("source");
});

test.after(async () => {
  await pair?.close();
  await lab?.close();
  await rm(directory, { recursive: true, force: true });
});

test("says what a move would cost", async () => {
  const { body } = await pair.ask("a", "/v1/services/shop?to=b");
  assert.is(body.here, "running");
  const [best] = body.migration.approaches;
  assert.is(best.approach, "container", JSON.stringify(body));
  assert.is(best.possible, true);
  assert.ok(body.memoryBytes > 0 && body.processes >= 1, JSON.stringify(body));
  assert.ok(best.predictedDowntimeMs >= 420);
});

test("moves the service by a request, and it goes on where it was", async () => {
  const source = only(a);
  const before = await counted(source);
  const { body } = await pair.migrate({ source: "keep" });
  const done = await pair.settled(body.id);
  assert.is(done.state, "done", JSON.stringify(done));
  const destination = only(b);
  assert.is(done.result.endpoint, destination.peerAddress);
  assert.ok(done.result.freezeMs > 0 && done.result.timingsMs.dump > 0);
  await untilBeyond(destination, before);
  assert.is((await source.status()).state, "RETIRED");
  console.log(`freeze ${done.result.freezeMs} ms, total ${done.result.totalMs} ms`);
});

test("saves the service from an outer container that is stopped", async () => {
  for (const orchestrator of [a, b]) {
    for (const { id } of await orchestrator.list()) await orchestrator.remove(id);
  }
  const source = await startSource("stopped");
  const before = await counted(source);
  await run(["docker", "kill", "--signal", "TERM", source.name]);
  const destination = await poll("the destination", () => [...b.outers.values()][0], {
    timeoutMs: 60_000,
  });
  await untilBeyond(destination, before);
  const hasGone = async () => (await a.list()).length === 0;
  await poll("the end of the source", hasGone, { timeoutMs: 60_000 });
});

/** A service of a, as a user would start it. */
async function startSource(name: string): Promise<OuterContainer> {
  const host = await bridgeAddress();
  const outer = await lab.start(name, {
    image: await outerWithFixture("programs"),
    args: ["sh", "-c", count],
    env: {
      UMS_COORDINATOR: `https://${host}:${pair.ports["a"]}`,
      UMS_EVACUATE_TO: "b",
      UMS_EVACUATE_TIMEOUT: "120",
    },
    tlsDirectory: join(directory, "peer-outer-a"),
  });
  a.add(outer, { ...fakeWorkloadSpec("shop"), env: [] });
  return outer;
}

function only(orchestrator: LabOrchestrator): OuterContainer {
  const [outer] = [...orchestrator.outers.values()];
  if (outer === undefined) throw new TypeError("no outer container");
  return outer;
}

function counted(outer: OuterContainer): Promise<number> {
  const read = async () => {
    const done = await outer.ums("exec", "--", "cat", "/tmp/count");
    const value = Number(done.stdout);
    return done.exitCode === 0 && value > 10 ? value : undefined;
  };
  return poll("a count", read, { timeoutMs: 60_000, intervalMs: 200 });
}

async function untilBeyond(outer: OuterContainer, before: number): Promise<void> {
  const isBeyond = async () => (await counted(outer)) > before;
  await poll("the count goes on", isBeyond, { timeoutMs: 60_000, intervalMs: 200 });
}

test.run();
