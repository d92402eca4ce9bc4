/** One of each kind of process state, all in one service, moved there and back. */
import * as assert from "uvu/assert";
import { findCountProblem, type Watch, watchCounter } from "../lib/counter-watch.js";
import { askOnce, type LineClient, whenAnswering } from "../lib/line-client.js";
import { type OuterContainer, type OuterLab, openOuterLab } from "../lib/outer.js";
import { outerWithFixture } from "../lib/outer-image.js";
import { requires } from "../lib/requires.js";
import { suite } from "../lib/suite.js";

/** Program -> port of its line protocol; the counter is the service's first process. */
const ports = {
  counter: 7000,
  "multi-process": 7001,
  "multi-threaded": 7002,
  "deleted-file": 7003,
  "shared-memory": 7004,
  "unread-pipe": 7005,
  "pending-signals": 7006,
  timers: 7007,
};
const counterMib = 32;
const script = Object.entries(ports)
  .map(([program, port]) => (program === "counter" ? "" : `CONTROL_PORT=${port} ${program} & `))
  .join("")
  .concat(`exec counter ${counterMib}`);

const test = suite("migration of every kind of process state");
let lab: OuterLab;
let first: OuterContainer;
let second: OuterContainer;
let watch: Watch;
/** Connections that are open all the time. */
const clients = new Map<string, LineClient>();

test.before(async () => {
  lab = await openOuterLab("ums-test-programs");
  const image = await outerWithFixture("programs");
  [first, second] = await Promise.all([
    lab.start("a", { image, args: ["sh", "-c", script], ports: Object.values(ports) }),
    lab.start("b"),
  ]);
  for (const [program, port] of Object.entries(ports)) {
    clients.set(program, await whenAnswering(first.port(port)));
  }
  watch = await watchCounter(first.port(ports.counter));
});

test.after(async () => {
  await watch?.stop();
  for (const client of clients.values()) client.close();
  await lab?.close();
});

test("runs them all", checkAll);

test("moves them in one piece", async () => {
  const { freezeMs, bytesSent } = await first.move(second);
  assert.ok(freezeMs > 0);
  assert.ok(bytesSent > counterMib * 1024 ** 2, `${bytesSent} bytes sent`);
  assert.is((await first.status()).state, "RETIRED");
  assert.is((await second.status()).here, "running");
});

for (const program of Object.keys(ports)) {
  test(`${program} is unharmed, asked on its old connection`, () => check(program));
}

test("new connections reach it at the source and at the destination", async () => {
  for (const address of [
    first.port(ports["multi-process"]),
    { host: second.ip, port: ports["multi-process"] },
  ]) {
    assert.match(await askOnce(address, "check"), /^ok /);
  }
});

test("moves back to where it came from", async () => {
  await second.move(first);
  assert.is((await first.status()).here, "running");
  assert.is((await second.status()).state, "RETIRED");
  await checkAll();
});

test("delivers the pending signals, once and in order", async () => {
  const client = clients.get("pending-signals");
  assert.is(await client?.ask("release"), "ok 1 2 3 4 5 SIGUSR1");
  assert.is(await client?.ask("check"), "ok 0");
});

test("lost and repeated no request and no line of output", async () => {
  const report = await watch.stop();
  assert.equal(report.problems, []);
  assert.ok(report.answered > 0);
  const outputs = await Promise.all([first.printed(), second.printed()]);
  assert.is(findCountProblem(outputs), undefined);
  assert.ok(outputs[1]?.includes("\n"), "nothing was printed at the destination");
});

async function check(program: string): Promise<void> {
  const answer = await clients.get(program)?.ask("check");
  assert.ok(answer?.startsWith("ok "), `${program}: ${answer}`);
}

async function checkAll(): Promise<void> {
  for (const program of Object.keys(ports)) await check(program);
}

if (requires("root", "docker")) test.run();
