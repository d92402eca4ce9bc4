/**
 * `make demo`: moves a live Redis between two outer containers on this machine's engine while a
 * client uses it, then checks that nothing was lost. Ends with one line, `demo: ok ...` (exit code
 * 0) or `demo: FAILED ...` (exit code 1). Leaves nothing behind.
 */
import { setTimeout as pause } from "node:timers/promises";
import type { OuterContainer, OuterLab } from "../lib/outer.js";
import { openOuterLab } from "../lib/outer.js";
import { outerWithFixture } from "../lib/outer-image.js";
import { openRedis } from "../lib/redis-client.js";
import {
  type Address,
  type CounterClient,
  type CounterReport,
  countLostKeys,
  fillKeys,
  startCounter,
  whenRedisAnswers,
} from "../lib/redis-load.js";
import { digestFiles, writeFiles } from "./files.js";
import { migrateVisibly } from "./migrate.js";

const keyCount = 200_000;
const fileCount = 300;
const redisPort = 6379;
/** The clients run so long before and after the move. */
const settleMs = 1_000;
const label = "demo";

interface Outcome {
  totalMs: number;
  freezeMs: number;
  gapMs: number;
  lost: number;
  failed: number;
}

async function main(): Promise<number> {
  const interrupted = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    process.once(signal, () => interrupted.abort(new Error(`stopped by ${signal}`)));
  }
  const stopped = new Promise<never>((_, reject) => {
    interrupted.signal.addEventListener("abort", () => reject(interrupted.signal.reason));
  });
  let lab: OuterLab | undefined;
  let last = `${label}: FAILED`;
  let exitCode = 1;
  try {
    lab = await openOuterLab("ums-demo");
    const outcome = await Promise.race([demonstrate(lab), stopped]);
    const isGood = outcome.lost === 0 && outcome.failed === 0;
    last = `${label}: ${isGood ? "ok" : "FAILED"} ${figures(outcome)}`;
    exitCode = isGood ? 0 : 1;
  } catch (error) {
    last = `${label}: FAILED ${error instanceof Error ? error.message : String(error)}`;
  }
  say("removing the containers and the volume");
  await lab?.close();
  console.log(last);
  return exitCode;
}

async function demonstrate(lab: OuterLab): Promise<Outcome> {
  const { source, destination } = await startBoth(lab);
  const address = source.port(redisPort);
  await fill(address);
  const filesBefore = await writeFiles(source, fileCount);
  say(`wrote ${fileCount} files into the volume`);

  const clients = [
    startCounter(address, { key: "counter:established", isReconnecting: false }),
    startCounter(address, { key: "counter:new", isReconnecting: true }),
  ];
  say("two clients count through the published port: on one connection, and on new ones");
  await pause(settleMs);
  const result = await migrateVisibly(source, destination.peerAddress);
  await pause(settleMs);
  const reports = await Promise.all(clients.map((client) => client.stop()));
  describeClients(reports, clients);

  const { here } = await destination.status();
  if (here !== "running") throw new Error(`the service is ${here} at the destination`);
  const lostKeys = await checkKeys(address);
  const filesAfter = await digestFiles(destination);
  const lostFiles = [...filesBefore].filter(([name, digest]) => filesAfter.get(name) !== digest);
  say(`checked ${fileCount} files at the destination: ${lostFiles.length} missing or changed`);
  return {
    ...result,
    gapMs: Math.max(...reports.map(({ gapMs }) => gapMs)),
    lost: lostKeys + lostFiles.length + sum(reports, ({ lost }) => lost),
    failed: sum(reports, ({ failed }) => failed),
  };
}

async function startBoth(lab: OuterLab) {
  say("building the image of the outer container that holds Redis (ums build)");
  const image = await outerWithFixture("redis");
  const volume = await lab.volume("data");
  say("starting two outer containers: a, which runs Redis, and b, which stands by");
  const [source, destination] = await Promise.all([
    lab.start("a", {
      image,
      env: { UMS_SERVICE_NAME: "redis" },
      ports: [redisPort],
      flags: ["-v", `${volume}:/data`],
    }),
    lab.start("b"),
  ]);
  return { source, destination } satisfies Record<string, OuterContainer>;
}

async function fill(address: Address): Promise<void> {
  const redis = await whenRedisAnswers(address);
  await fillKeys(redis, keyCount);
  say(`set ${await redis.call("DBSIZE")} keys`);
  redis.close();
}

async function checkKeys(address: Address): Promise<number> {
  const redis = await openRedis(address);
  const lost = await countLostKeys(redis, keyCount);
  redis.close();
  say(`checked ${keyCount} keys through the source's published port: ${lost} missing or changed`);
  return lost;
}

function describeClients(reports: CounterReport[], clients: CounterClient[]): void {
  const names = ["one connection", "new connections"];
  reports.forEach(({ lost, failed, gapMs, errors }, index) => {
    const answered = clients[index]?.answered ?? 0;
    say(
      `client on ${names[index]}: ${answered} counts, ${lost} lost, ${failed} failed, ` +
        `longest gap ${gapMs.toFixed(0)} ms`,
    );
    for (const error of errors) say(`  ${error}`);
  });
}

function figures({ totalMs, freezeMs, gapMs, lost, failed }: Outcome): string {
  const [total, freeze, gap] = [totalMs, freezeMs, gapMs].map((ms) => ms.toFixed(0));
  return `total_ms=${total} freeze_ms=${freeze} gap_ms=${gap} lost=${lost} failed=${failed}`;
}

function sum(reports: CounterReport[], figure: (report: CounterReport) => number): number {
  return reports.reduce((total, report) => total + figure(report), 0);
}

function say(text: string): void {
  console.log(`${label}: ${text}`);
}

process.exit(await main());
