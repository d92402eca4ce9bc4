/** Migrations that cannot be: a clear code each, and the service runs on as if nothing had been. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { type ErrorCode, errorCatalogue, exitCodes } from "../../src/errors.js";
import type { OperatorClient } from "../../src/grpc/operator-client.js";
import { poll } from "../../src/lib/deadline.js";
import { serviceName } from "../../src/nested/names.js";
import { makeAuthority } from "../lib/certificates.js";
import { findCountProblem, type Watch, watchCounter } from "../lib/counter-watch.js";
import { askOnce } from "../lib/line-client.js";
import {
  type MigrationResult,
  type OuterContainer,
  type OuterLab,
  openOuterLab,
} from "../lib/outer.js";
import { outerWithFixture } from "../lib/outer-image.js";
import { requires } from "../lib/requires.js";
import { suite } from "../lib/suite.js";

const port = 7000;
/** Long enough to dump that a cancel comes in the middle, also on a fast machine. */
const counterMib = 192;
/** Less than twice the counter, more than an outer container itself takes. */
const smallMemory = "384m";

const test = suite("a migration that cannot be");
let lab: OuterLab;
let directory: string;
let source: OuterContainer;
let destination: OuterContainer;
let orders: OperatorClient;
let watch: Watch;

test.before(async () => {
  lab = await openOuterLab("ums-test-bad-input");
  directory = await mkdtemp(join(tmpdir(), "ums-test-bad-input-"));
  const image = await outerWithFixture("programs");
  const volume = await lab.volume("source-data");
  [source, destination] = await Promise.all([
    lab.start("a", {
      image,
      env: { UMS_SERVICE_NAME: "svc" },
      args: ["counter", String(counterMib)],
      ports: [port],
      flags: ["-v", `${volume}:/data`],
    }),
    lab.start("b"),
  ]);
  orders = await lab.operate(source);
  watch = await watchCounter(source.port(port));
});

test.after(async () => {
  orders?.close();
  await watch?.stop();
  await lab?.close();
  await rm(directory, { recursive: true, force: true });
});

test("cancelled while files are sent", () => cancelIn("PRECOPY"));

test("cancelled while the service is frozen", () => cancelIn("FREEZING"));

test("to a destination that does not answer", async () => {
  await refused("ERR_PEER_UNREACHABLE", `${destination.ip}:9`);
});

test("to an address that no peer may have", async () => {
  await refused("ERR_CONFIG_INVALID", "127.0.0.1:9750");
});

test("to a destination of another authority", async () => {
  const authority = await makeAuthority(directory);
  const stranger = await lab.start("w", { tlsDirectory: await authority.issue("stranger") });
  await refused("ERR_PEER_UNTRUSTED", stranger);
  await stranger.remove();
});

test("to a destination of another name", async () => {
  await refused("ERR_PEER_IDENTITY", destination, "--name", "somebody-else");
});

test("of a service that is not here", async () => {
  await refused("ERR_SERVICE_NOT_FOUND", destination, "no-such-service");
});

test("of a service that is on its way already", async () => {
  const order = { destination: destination.peerAddress, destinationName: "", service: "" };
  let second: Promise<unknown> | undefined;
  const first = orders.migrate({ ...order, downtimeBudgetMs: 30_000 }, () => {
    second ??= refused("ERR_MIGRATION_IN_PROGRESS", destination).finally(() => orders.cancel(""));
    // Awaited below; a failure before that must not end the process.
    second.catch(() => undefined);
  });
  await first;
  await second;
  await expectUntouched();
});

test("frozen for longer than the downtime budget", async () => {
  const result = await refused("ERR_DEADLINE", destination, "--downtime-budget", "1");
  assert.ok((result?.freezeMs ?? 0) > 1, "it was never frozen");
});

test("to a destination without room in memory", async () => {
  const small = await lab.start("m", { flags: ["--memory", smallMemory] });
  await refused("ERR_NO_ROOM", small);
  await small.remove();
});

test("to a destination with other data in its volume", async () => {
  const volume = await lab.volume("other-data");
  const full = await lab.start("v", { flags: ["-v", `${volume}:/data`] });
  assert.is((await full.exec("sh", "-c", "echo precious >/data/file")).exitCode, 0);
  await refused("ERR_VOLUME_NOT_EMPTY", full);
  assert.is((await full.exec("cat", "/data/file")).stdout, "precious\n");
  await full.remove();
});

test("of a service with what CRIU cannot dump, or to an occupied destination", async () => {
  const image = await outerWithFixture("programs");
  const other = await lab.start("u", { image, args: ["unsupported", "corked"], ports: [port] });
  await refused("ERR_DESTINATION_OCCUPIED", other);
  const { code, result, stderr, exitCode } = await other.migrate(destination);
  assert.is(code, "ERR_CRIU_DUMP_FAILED", stderr);
  assert.is(exitCode, exitCodes.tool);
  assert.is(result?.runsOn, "source");
  assert.match(result?.failure?.message ?? "", /corked|UDP|dgram/i);
  const kept = await other.exec("tail", "-n", "1", result?.failure?.details?.logPath ?? "no log");
  assert.match(kept.stdout, /Dumping FAILED/);
  assert.match(await askOnce(other.port(port), "check"), /^ok /);
  await signal(other, "STOP");
  const stopped = await other.migrate(destination);
  await signal(other, "CONT");
  assert.is(stopped.code, "ERR_RESOURCE_UNSUPPORTED", stopped.stderr);
  assert.match(await askOnce(other.port(port), "check"), /^ok /);
  await other.remove();
});

test("is followed by one that succeeds", async () => {
  await source.move(destination);
  assert.match(await askOnce(source.port(port), "check"), /^ok /);
});

test("has cost no request and no line of output", async () => {
  const report = await watch.stop();
  assert.equal(report.problems, []);
  const outputs = await Promise.all([source.printed(), destination.printed()]);
  assert.is(findCountProblem(outputs), undefined);
});

/** To the service's first process, from outside: it may be SIGSTOP. */
async function signal(outer: OuterContainer, name: string): Promise<void> {
  const { exitCode, stderr } = await outer.exec("docker", "kill", "--signal", name, serviceName);
  assert.is(exitCode, 0, stderr);
}

/** Expects this code and its exit code, and the service to run on. */
async function refused(
  code: ErrorCode,
  to: OuterContainer | string,
  ...flags: string[]
): Promise<MigrationResult | undefined> {
  const done = await source.migrate(to, ...flags);
  assert.is(done.code, code, `${done.stdout}${done.stderr}`);
  assert.is(done.exitCode, exitCodes[errorCatalogue[code]]);
  if (done.result !== undefined) {
    assert.is(done.result.outcome, "aborted");
    assert.is(done.result.runsOn, "source");
  }
  if (code !== "ERR_MIGRATION_IN_PROGRESS") await expectUntouched();
  return done.result;
}

/** Starts a migration and cancels it as soon as it is in `phase`. */
async function cancelIn(phase: string): Promise<void> {
  const running = source.migrate(destination);
  const isThere = async () => (await orders.status()).state === phase;
  await poll(`the migration is in ${phase}`, isThere, { timeoutMs: 60_000, intervalMs: 10 });
  await orders.cancel("");
  const { code, exitCode, stdout, stderr } = await running;
  assert.is(code, "ERR_CANCELLED", `${stdout}${stderr}`);
  assert.is(exitCode, exitCodes.cancelled);
  await expectUntouched();
}

async function expectUntouched(): Promise<void> {
  const { state, here } = await orders.status();
  assert.is(state, "ACTIVE");
  assert.is(here, "running");
  const before = watch.answered;
  const goesOn = () => watch.answered > before;
  await poll("the service answers", goesOn, { timeoutMs: 10_000 });
  assert.match(await askOnce(source.port(port), "check"), /^ok /);
}

if (requires("root", "docker")) test.run();
