/** Connections that are being made when a migration comes: half open, or not accepted. */
import * as assert from "uvu/assert";
import { poll } from "../../src/lib/deadline.js";
import { serviceName } from "../../src/nested/names.js";
import { openTcpEcho } from "../lib/echoes.js";
import { openHalf } from "../lib/half-open.js";
import { type OuterContainer, type OuterLab, openOuterLab } from "../lib/outer.js";
import { outerWithFixture } from "../lib/outer-image.js";
import { requires } from "../lib/requires.js";
import { startSequence } from "../lib/sequence.js";
import { suite } from "../lib/suite.js";

const port = 7000;
/** Nobody accepts there. */
const deafPort = 7004;
const halfOpenCount = 5;

const test = suite("connections in the making during a migration");
let lab: OuterLab;
let source: OuterContainer;
let destination: OuterContainer;

test.before(async () => {
  lab = await openOuterLab("ums-test-handshakes");
  const image = await outerWithFixture("protocols");
  [source, destination] = await Promise.all([
    lab.start("a", { image, ports: [port] }),
    lab.start("b"),
  ]);
  const isServing = async () => (await source.printed()).includes("serving");
  await poll("the service serves", isServing, { timeoutMs: 60_000, intervalMs: 200 });
});

test.after(async () => {
  await lab?.close();
});

test("moves with half-open connections whose client is gone", async () => {
  await openHalf(source.ip, port, halfOpenCount);
  const halfOpen = async () => {
    const table = await source.exec("sh", "-c", `nsenter -t ${await pid()} -n cat /proc/net/tcp`);
    return table.stdout.split("\n").filter((line) => line.trim().split(/\s+/)[3] === "03").length;
  };
  assert.is(await poll("SYNs arrive", halfOpen, { timeoutMs: 5_000 }), halfOpenCount);
  await source.move(destination);
  assert.is((await destination.status()).here, "running");
});

test("serves those who come after", async () => {
  const late = startSequence("late", await openTcpEcho(source.port(port)));
  const { problems, received, sent } = await late.stop();
  assert.equal(problems, []);
  assert.is(received, sent);
});

test("stays, with a reason, when a connection is never accepted", async () => {
  const waiting = await openTcpEcho({ host: destination.ip, port: deafPort });
  const ends: string[] = [];
  waiting.onEnd((reason) => ends.push(reason));
  const { code, result } = await destination.migrate(source);
  assert.is(code, "ERR_CRIU_DUMP_FAILED", JSON.stringify(result));
  assert.match(result?.failure?.message ?? "", /connection/i);
  assert.is((await destination.status()).here, "running");
  assert.equal(ends, []);
  waiting.close();
});

async function pid(): Promise<string> {
  const format = "{{.State.Pid}}";
  return (await source.exec("docker", "inspect", "--format", format, serviceName)).stdout.trim();
}

if (requires("root", "docker", "python3")) test.run();
