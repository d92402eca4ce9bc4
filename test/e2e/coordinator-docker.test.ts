/**
 * Two Coordinators, each with the real driver of a Docker Engine (one engine plays both systems, so
 * the service has another name at the second): a counter moves by a request, its source is deleted.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { poll } from "../../src/lib/deadline.js";
import { run } from "../../src/lib/exec.js";
import { openDocker } from "../../src/orchestrators/docker/driver.js";
import { CoordinatorPair } from "../lib/coordinator-pair.js";
import { fakeWorkloadSpec } from "../lib/fake-orchestrator.js";
import { askOnce } from "../lib/line-client.js";
import { outerWithFixture } from "../lib/outer-image.js";
import { requires } from "../lib/requires.js";
import { suite } from "../lib/suite.js";

const address = "unix:///var/run/docker.sock";
const source = "ums-test-coordinator-docker-a";
const destination = "ums-test-coordinator-docker-b";
const port = 7000;

const test = suite("Coordinators of Docker Engines");
let directory: string;
let pair: CoordinatorPair;

test.before(async () => {
  await removeAll();
  directory = await mkdtemp(join(tmpdir(), "ums-test-"));
  pair = await CoordinatorPair.open(directory, false);
  for (const system of ["a", "b"] as const) {
    const tls = await pair.authority.issue(`outer-${system}`);
    const outerTls = { kind: "bind" as const, source: tls };
    pair.orchestrators[system] = await openDocker({ address, outerTls });
    await pair.start(system, {
      UMS_COORDINATOR_OUTER_TLS: `bind:${tls}`,
      UMS_COORDINATOR_OUTER_PEER_NAME: `outer-${system}`,
    });
  }
  const spec = {
    ...fakeWorkloadSpec(source),
    image: await outerWithFixture("programs"),
    args: ["counter", "4"],
    env: [],
    ports: [{ port, protocol: "tcp" as const }],
  };
  const order = { spec, migrationId: "first", startMode: "active" as const };
  const { id } = await pair.orchestrators.a.create(order);
  await pair.orchestrators.a.untilReady(id, { timeoutMs: 120_000 });
});

test.after(async () => {
  await pair?.close();
  await removeAll();
  await rm(directory, { recursive: true, force: true });
});

test("move a service by a request, state and all, and delete its source", async () => {
  const before = await poll("the counter", () => next(source).catch(() => undefined), {
    timeoutMs: 60_000,
  });
  const request = { service: source, destination: { system: "b", name: destination } };
  const { status, body } = await pair.migrate(request);
  assert.is(status, 202, JSON.stringify(body));
  const done = await pair.settled(body.id);
  assert.is(done.state, "done", JSON.stringify(done));
  assert.is(await next(destination), before + 1);
  assert.equal(await names(), [destination]);
  console.log(`freeze ${done.result.freezeMs} ms, total ${done.result.totalMs} ms`);
});

async function next(name: string): Promise<number> {
  const format = "{{.NetworkSettings.IPAddress}}";
  const { stdout } = await run(["docker", "inspect", "--format", format, name]);
  return Number(await askOnce({ host: stdout.trim(), port }, "next"));
}

async function names(): Promise<string[]> {
  const filter = ["--filter", "name=ums-test-coordinator-docker-"];
  const { stdout } = await run(["docker", "ps", "--all", "--format", "{{.Names}}", ...filter]);
  return stdout.split("\n").filter((name) => name !== "");
}

async function removeAll(): Promise<void> {
  for (const name of await names()) await run(["docker", "rm", "--force", "--volumes", name]);
  const { stdout } = await run(["docker", "volume", "ls", "--format", "{{.Name}}"]);
  const volumes = stdout.split("\n").filter((name) => name.includes("ums-test-coordinator-docker"));
  if (volumes.length > 0) await run(["docker", "volume", "rm", ...volumes]);
}

if (requires("root", "docker")) test.run();
