/** PostgreSQL moves while pgbench runs against it. */
import * as assert from "uvu/assert";
import { poll, sleep } from "../../src/lib/deadline.js";
import { run } from "../../src/lib/exec.js";
import { type CommandResult, finish } from "../lib/command.js";
import { type OuterContainer, type OuterLab, openOuterLab } from "../lib/outer.js";
import { outerWithFixture } from "../lib/outer-image.js";
import { requires } from "../lib/requires.js";
import { suite } from "../lib/suite.js";

const port = 5432;
/** Of 100,000 accounts each. */
const scale = 2;
const clients = 4;
/** Longer than the move lasts; ended by its own timer's signal when the service has moved. */
const benchSeconds = 120;
/** pgbench runs so long before the service is moved and after it. */
const leadMs = 2_000;

const prefix = "ums-test-postgres";
const benchName = `${prefix}-pgbench`;

const test = suite("migration of PostgreSQL under pgbench");
let lab: OuterLab;
let source: OuterContainer;
let destination: OuterContainer;
let bench: CommandResult;

test.before(async () => {
  lab = await openOuterLab(prefix);
  const image = await outerWithFixture("postgres");
  [source, destination] = await Promise.all([
    lab.start("a", { image, ports: [port] }),
    lab.start("b"),
  ]);
  const isReady = async () => (await pgTool(source, "pg_isready")).exitCode === 0;
  await poll("PostgreSQL answers", isReady, { timeoutMs: 60_000, intervalMs: 300 });
  const filled = await pgTool(source, "pgbench", "--initialize", "--quiet", `--scale=${scale}`);
  assert.is(filled.exitCode, 0, filled.stderr);
});

test.after(async () => {
  await lab?.close();
});

test("fails no transaction", async () => {
  const options = [`--client=${clients}`, `--time=${benchSeconds}`, "--no-vacuum"];
  const running = pgTool(source, "pgbench", ...options);
  await sleep(leadMs);
  await source.move(destination);
  await sleep(leadMs);
  await run(["docker", "kill", "--signal", "ALRM", benchName]);
  bench = await running;
  assert.is(bench.exitCode, 0, bench.stderr);
  assert.match(bench.stdout, "number of failed transactions: 0 ");
});

test("has every acknowledged transaction, and only those", async () => {
  const processed = Number(/actually processed: (\d+)/.exec(bench.stdout)?.[1]);
  assert.ok(processed > 0, bench.stdout);
  assert.is(await query("select count(*) from pgbench_history"), String(processed));
});

test("keeps the sums of all tables equal", async () => {
  const [balances, deltas] = await Promise.all([
    query(
      "select (select sum(abalance) from pgbench_accounts) || ' ' ||" +
        " (select sum(tbalance) from pgbench_tellers) || ' ' ||" +
        " (select sum(bbalance) from pgbench_branches)",
    ),
    query("select sum(delta) from pgbench_history"),
  ]);
  assert.is(balances, `${deltas} ${deltas} ${deltas}`);
});

test("has sound tables and indexes", async () => {
  await query("create extension amcheck");
  const options = ["--heapallindexed", "--all", "--no-strict-names"];
  const checked = await pgTool(source, "pg_amcheck", ...options);
  assert.is(checked.exitCode, 0, `${checked.stdout}${checked.stderr}`);
});

/** Runs one of PostgreSQL's tools as a client on this machine, through the published port. */
function pgTool(outer: OuterContainer, tool: string, ...options: string[]): Promise<CommandResult> {
  const { host, port: hostPort } = outer.port(port);
  const connection = ["-h", host, "-p", String(hostPort), "-U", "postgres"];
  const script = `PATH="$PATH:$(echo /usr/lib/postgresql/*/bin)"; exec "$@"`;
  return finish(
    [
      ...["docker", "run", "--rm", "--network", "host", "--label", `ums.test=${prefix}`],
      ...(tool === "pgbench" ? ["--name", benchName] : []),
      "ums-fixture/postgres",
      ...["sh", "-c", script, "sh", tool, ...connection, ...options],
    ],
    { timeoutMs: (benchSeconds + 30) * 1000 },
  );
}

async function query(sql: string): Promise<string> {
  const { exitCode, stdout, stderr } = await pgTool(source, "psql", "-At", "-c", sql);
  assert.is(exitCode, 0, stderr);
  return stdout.trim();
}

if (requires("root", "docker")) test.run();
