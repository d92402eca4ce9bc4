/**
 * `make bench`, second part, or `node dist/bench/relay.js [--rounds 3] [--output PATH]` from the root
 * of the repository: what the relay costs a client that stays at the source's address.
 *
 * nginx moves once. Then the same client downloads and asks, by turns, through the source's relay
 * and directly at the destination. Writes one row a round and way to bench/relay.json.
 */
import { writeFile } from "node:fs/promises";
import { Agent, get } from "node:http";
import { parseArgs } from "node:util";
import { poll } from "../src/lib/deadline.js";
import { type OuterLab, openOuterLab } from "../test/lib/outer.js";
import { outerWithFixture } from "../test/lib/outer-image.js";
import { describeMachine, median } from "./lib/results.js";

type Way = "relayed" | "direct";

interface RelayRow {
  experiment: "relay";
  way: Way;
  round: number;
  /** One connection, one file. */
  downloadMibPerSecond: number;
  /** One kept connection, one request after the other. */
  p50Ms: number;
  p99Ms: number;
  requests: number;
  date: string;
  machine: ReturnType<typeof describeMachine>;
}

const port = 80;
const fileMib = 256;
const requests = 1_000;
const warmUpRequests = 50;
const mib = 1024 ** 2;

async function main(argv: string[]): Promise<void> {
  const { values } = parseArgs({
    args: argv,
    options: {
      rounds: { type: "string", default: "3" },
      output: { type: "string", default: "bench/relay.json" },
    },
  });
  const lab = await openOuterLab("ums-bench-relay");
  try {
    const urls = await moveNginx(lab);
    const rows: RelayRow[] = [];
    for (let round = 1; round <= Number(values.rounds); round += 1) {
      for (const way of ["relayed", "direct"] as const) {
        rows.push(await measure(way, urls[way], round));
      }
    }
    report(rows);
    await writeFile(values.output, `${JSON.stringify(rows, undefined, 2)}\n`);
    console.log(`wrote ${values.output}`);
  } finally {
    await lab.close();
  }
}

/** @returns where the service is reached by each way */
async function moveNginx(lab: OuterLab): Promise<Record<Way, string>> {
  const image = await outerWithFixture("nginx");
  const [source, destination] = await Promise.all([
    lab.start("source", { image, env: { FILE_MIB: String(fileMib) }, ports: [port] }),
    lab.start("destination"),
  ]);
  const { host, port: published } = source.port(port);
  const urls = {
    relayed: `http://${host}:${published}`,
    direct: `http://${destination.ip}:${port}`,
  };
  const isServing = () =>
    fetch(`${urls.relayed}/health`).then(
      ({ ok }) => ok,
      () => false,
    );
  await poll("nginx serves", isServing, { timeoutMs: 120_000, intervalMs: 200 });
  await source.move(destination);
  return urls;
}

async function measure(way: Way, url: string, round: number): Promise<RelayRow> {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  try {
    const startedMs = performance.now();
    const bytes = await request(`${url}/large`, agent);
    const seconds = (performance.now() - startedMs) / 1_000;
    if (bytes !== fileMib * mib) throw new Error(`${way}: ${bytes} bytes of ${fileMib} MiB`);
    const latencies: number[] = [];
    for (let index = 0; index < warmUpRequests + requests; index += 1) {
      const beginMs = performance.now();
      await request(`${url}/health`, agent);
      if (index >= warmUpRequests) latencies.push(performance.now() - beginMs);
    }
    latencies.sort((a, b) => a - b);
    const row: RelayRow = {
      experiment: "relay",
      way,
      round,
      downloadMibPerSecond: hundredths(fileMib / seconds),
      p50Ms: hundredths(latencies[Math.floor(requests * 0.5)] ?? 0),
      p99Ms: hundredths(latencies[Math.floor(requests * 0.99)] ?? 0),
      requests,
      date: new Date().toISOString(),
      machine: describeMachine(),
    };
    console.log(`${way} ${round}: ${describe(row)}`);
    return row;
  } finally {
    agent.destroy();
  }
}

/** @returns bytes of the body */
function request(url: string, agent: Agent): Promise<number> {
  return new Promise((resolve, reject) => {
    const sent = get(url, { agent }, (response) => {
      let bytes = 0;
      response.on("data", (chunk: Buffer) => {
        bytes += chunk.length;
      });
      response.on("end", () => resolve(bytes));
      response.on("error", reject);
    });
    sent.on("error", reject);
    sent.setTimeout(60_000, () => sent.destroy(new Error(`no answer from ${url}`)));
  });
}

function report(rows: readonly RelayRow[]): void {
  const of = (way: Way, value: (row: RelayRow) => number) =>
    median(rows.filter((row) => row.way === way).map(value));
  const relayed = (value: (row: RelayRow) => number) => of("relayed", value);
  const direct = (value: (row: RelayRow) => number) => of("direct", value);
  const throughput = ({ downloadMibPerSecond }: RelayRow) => downloadMibPerSecond;
  const p50 = ({ p50Ms }: RelayRow) => p50Ms;
  const p99 = ({ p99Ms }: RelayRow) => p99Ms;
  console.log(
    `\nmedians: the relay has ${(relayed(throughput) / direct(throughput)).toFixed(2)} of the direct ` +
      `throughput and adds ${(relayed(p50) - direct(p50)).toFixed(2)} ms (p50), ` +
      `${(relayed(p99) - direct(p99)).toFixed(2)} ms (p99)`,
  );
}

function describe({ downloadMibPerSecond, p50Ms, p99Ms }: RelayRow): string {
  return `${downloadMibPerSecond.toFixed(0)} MiB/s, p50 ${p50Ms} ms, p99 ${p99Ms} ms`;
}

function hundredths(value: number): number {
  return Math.round(value * 100) / 100;
}

await main(process.argv.slice(2));
