/** Redis moves under redis-benchmark, to a destination on another network of the engine. */
import * as assert from "uvu/assert";
import { sleep } from "../../src/lib/deadline.js";
import { type ClientLoop, startClientLoop } from "../lib/client-loop.js";
import {
  type MigrationResult,
  type OuterContainer,
  type OuterLab,
  openOuterLab,
} from "../lib/outer.js";
import { outerWithFixture } from "../lib/outer-image.js";
import { whenRedisAnswers } from "../lib/redis-load.js";
import { requires } from "../lib/requires.js";
import { suite } from "../lib/suite.js";

const port = 6379;
/** Of the destination: no other container may have them on the machine's own address. */
const peerPort = 19_750;
const dataPort = 19_752;
const clients = 50;
/** In one run of the benchmark. */
const requests = 10_000;
/** Load before the move and after it. */
const leadMs = 2_000;
/** Beyond the freeze, on a machine that is busy with other things (docs/clients.md). */
const maxExtraGapMs = 1_000;

const prefix = "ums-test-clients-redis";

const test = suite("redis-benchmark during a migration to another network");
let lab: OuterLab;
let source: OuterContainer;
let destination: OuterContainer;
let benchmark: ClientLoop | undefined;
let moved: MigrationResult;
let runs: BenchmarkRun[] = [];

interface BenchmarkRun {
  test: string;
  maxLatencyMs: number;
}

test.before(async () => {
  lab = await openOuterLab(prefix);
  const image = await outerWithFixture("redis");
  const network = await lab.network("other");
  const publish = (own: number) => ["-p", `${lab.publishAddress}:${own}:${own}`];
  [source, destination] = await Promise.all([
    lab.start("a", { image, ports: [port] }),
    lab.start("b", {
      network,
      env: { UMS_PEER_PORT: String(peerPort), UMS_DATA_PORT: String(dataPort) },
      flags: [...publish(peerPort), ...publish(dataPort)],
    }),
  ]);
  (await whenRedisAnswers(source.port(port))).close();
});

test.after(async () => {
  await benchmark?.stop();
  await lab?.close();
});

test("has no other way than the destination's published ports", async () => {
  const probe = `</dev/tcp/${destination.ip}/${peerPort}`;
  const { exitCode } = await source.exec("timeout", "2", "bash", "-c", probe);
  assert.is.not(exitCode, 0);
});

test("fails no request", async () => {
  const { host, port: hostPort } = source.port(port);
  const address = ["-h", host, "-p", String(hostPort)];
  const load = ["-c", String(clients), "-n", String(requests)];
  benchmark = startClientLoop({
    name: `${prefix}-benchmark`,
    lab: prefix,
    image: "ums-fixture/redis",
    argv: ["redis-benchmark", ...address, ...load, "-t", "incr", "--csv"],
  });
  await sleep(leadMs);
  const { result, stderr } = await source.migrate(`${lab.publishAddress}:${peerPort}`);
  assert.ok(result?.outcome === "moved", stderr);
  moved = result;
  await sleep(leadMs);
  // It ends with code 1 at the first reset, closed connection or error reply.
  const { exitCode, stdout, stderr: errors } = await benchmark.stop();
  assert.is(exitCode, 0, `${stdout}${errors}`);
  runs = parseRuns(stdout);
});

test("has executed every request once", async () => {
  const redis = await whenRedisAnswers(source.port(port));
  const counted = await redis.call("GET", "counter:__rand_int__");
  redis.close();
  assert.is(Number(counted), runs.length * requests);
});

test("makes no request wait for much longer than the freeze", () => {
  const gapMs = Math.max(...runs.map(({ maxLatencyMs }) => maxLatencyMs));
  const { freezeMs } = moved;
  const text = `gap ${Math.round(gapMs)} ms, freeze ${Math.round(freezeMs)} ms`;
  console.log(`redis-benchmark: ${runs.length * requests} requests, ${text}`);
  assert.ok(gapMs > freezeMs / 2, `no run was under way: ${text}`);
  assert.ok(gapMs <= freezeMs + maxExtraGapMs, text);
});

/** Lines of `redis-benchmark --csv`: a head, then a line a test; the last column is the maximum. */
function parseRuns(csv: string): BenchmarkRun[] {
  return csv.split("\n").flatMap((line) => {
    const columns = line.split(",").map((column) => column.replaceAll('"', ""));
    const [name = ""] = columns;
    return name === "INCR" ? [{ test: name, maxLatencyMs: Number(columns.at(-1)) }] : [];
  });
}

if (requires("root", "docker")) test.run();
