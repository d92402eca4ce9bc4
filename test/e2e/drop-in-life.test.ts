import * as assert from "uvu/assert";
import { poll, sleep } from "../../src/lib/deadline.js";
import { run } from "../../src/lib/exec.js";
import { requires } from "../lib/requires.js";
import { suite } from "../lib/suite.js";
import {
  buildImage,
  buildImages,
  cleanUp,
  innerImage,
  inOuter,
  killInOuter,
  plainOuterImage,
  prefix,
  printed,
  startOuter,
  untilEnded,
  untilPrinted,
  wrapImage,
} from "./drop-in-outer.js";

const test = suite("life of the outer container");
const name = `${prefix}-life`;

test.before(buildImages);
test.after(cleanUp);

test("stops the service by its own stop signal", async () => {
  const inner = `${prefix}/stop:inner`;
  const outer = `${prefix}/stop:outer`;
  await buildImage(inner, `FROM ${innerImage}\nSTOPSIGNAL SIGUSR1\n`);
  await wrapImage(inner, outer);
  const script =
    "trap 'echo usr1; exit 9' USR1; trap 'exit 10' TERM; echo up; while :; do sleep 0.1; done";
  await startOuter(name, [`image=${outer}`], ["sh", "-c", script], "up");
  await run(["docker", "kill", "-s", "TERM", name]);
  assert.is(await untilEnded(name), 9);
  assert.match((await printed(name)).stdout, /usr1\n$/);
});

test("kills a service that does not stop, and passes other signals on", async () => {
  const script = "trap 'echo hup' HUP; trap '' TERM; echo up; while :; do sleep 0.1; done";
  await startOuter(name, ["-e", "UMS_STOP_TIMEOUT=1"], ["sh", "-c", script], "up");
  await run(["docker", "kill", "-s", "HUP", name]);
  await untilPrinted(name, "hup");
  await run(["docker", "kill", "-s", "TERM", name]);
  assert.is(await untilEnded(name), 137);
});

test("a killed supervisor and a killed dockerd leave the service and its output alone", async () => {
  const script = [
    "trap 'echo last; exit 5' TERM",
    "i=0",
    "while :; do i=$((i+1)); echo n $i; echo $i >/tmp/count; sleep 0.02; done",
  ].join("; ");
  await startOuter(name, [], ["sh", "-c", script], "n 20\n");
  const before = await servicePid();
  const dead = await killInOuter(name, "main.js supervise");
  await poll("a new supervisor", async () => (await supervisorPid()) !== dead, {
    timeoutMs: 20_000,
  });
  await sleep(1_000);
  await killInOuter(name, "^dockerd");
  await poll("dockerd is back", async () => (await inOuter(name, "docker", "ps")).exitCode === 0, {
    timeoutMs: 30_000,
  });
  assert.is(await servicePid(), before);
  const { stdout } = await inOuter(name, "ums", "exec", "--", "cat", "/tmp/count");
  await untilPrinted(name, `n ${Number(stdout.toString("utf8")) + 50}\n`);
  await run(["docker", "stop", "-t", "20", name]);
  assert.is(await untilEnded(name), 5);
  const lines = (await printed(name)).stdout.trim().split("\n");
  assert.is(lines.pop(), "last");
  lines.forEach((line, index) => {
    assert.is(line, `n ${index + 1}`);
  });
});

test("docker restart starts the service again with its files", async () => {
  const script = "echo start >>/tmp/starts; cat /tmp/starts; echo up; exec sleep 1000";
  await startOuter(name, ["-e", "UMS_STOP_TIMEOUT=1"], ["sh", "-c", script], "up");
  await run(["docker", "restart", name], { timeoutMs: 60_000 });
  await untilPrinted(name, "up\nstart\nstart\nup\n");
});

test("stands by without a service", async () => {
  const options = [`image=${plainOuterImage}`, "-e", "UMS_START_MODE=passive"];
  await startOuter(name, options, [], "");
  const healthy = async () => (await inOuter(name, "ums", "health")).exitCode === 0;
  await poll("healthy while standing by", healthy, { timeoutMs: 30_000, intervalMs: 500 });
  await run(["docker", "stop", "-t", "20", name]);
  assert.is(await untilEnded(name), 143);
});

async function supervisorPid(): Promise<string> {
  const { stdout } = await inOuter(name, "pgrep", "-f", "-o", "main.js supervise");
  return stdout.toString("utf8").trim() || "none";
}

async function servicePid(): Promise<string> {
  const format = "{{.State.Pid}} {{.State.StartedAt}}";
  const { stdout } = await inOuter(name, "docker", "inspect", "-f", format, "ums-service");
  return stdout.toString("utf8").trim();
}

if (requires("root", "docker")) test.run();
