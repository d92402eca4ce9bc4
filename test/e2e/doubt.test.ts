/** An operator's ways out of a doubt, with real outer containers and a counter that must not err. */
import * as assert from "uvu/assert";
import { poll } from "../../src/lib/deadline.js";
import { findCountProblem, type Watch, watchCounter } from "../lib/counter-watch.js";
import { askOnce } from "../lib/line-client.js";
import { type Migrated, type OuterContainer, type OuterLab, openOuterLab } from "../lib/outer.js";
import { outerWithFixture } from "../lib/outer-image.js";
import { requires } from "../lib/requires.js";
import { suite } from "../lib/suite.js";

const port = 7000;
const counterMib = 32;
const faultDir = "/run/ums/faults";
const point = `${faultDir}/source.record.COMMITTED`;
const certificatePath = "/tmp/commit";
const conflictExitCode = 75;
/** A doubt lasts as long as the test keeps it up. */
const doubtTimeoutMs = 180_000;

const test = suite("an operator's way out of a doubt");
let image: string;

test.before(async () => {
  image = await outerWithFixture("programs");
});

test("a COMMIT carried by hand: the service runs while the network is cut", () =>
  withDoubt("cut", async ({ source, destination, watch, migration }) => {
    await cut(destination, source);
    await decide(source);
    await stateIs(source, "COMMITTED");
    assert.is((await destination.status()).state, "PREPARED");
    assert.match(await metrics(source), /^ums_migration_in_doubt 1$/m);

    const unfenced = await source.ums("rollback");
    assert.is(unfenced.exitCode, conflictExitCode, unfenced.stderr);
    assert.match(unfenced.stderr, /ERR_NOT_FENCED[\s\S]*only if ALL of this is true/);

    const exported = await source.ums("commit", "export");
    assert.is(exported.exitCode, 0, exported.stderr);
    const tampered = exported.stdout.trim().replace(/.{8}$/, "AAAAAAAA");
    const wrong = await importCommit(destination, tampered);
    assert.match(wrong.stderr, "ERR_PEER_UNTRUSTED");
    const imported = await timed("commit export and import, until it runs", () =>
      importCommit(destination, exported.stdout.trim()),
    );
    assert.is(imported.exitCode, 0, imported.stderr);
    assert.is((await destination.status()).here, "running");
    assert.is((await source.status()).state, "COMMITTED");
    const again = await importCommit(destination, exported.stdout.trim());
    assert.is(again.exitCode, 0, again.stderr);

    await heal(destination);
    await timed("from the heal to RETIRED", () => stateIs(source, "RETIRED"));
    const { result, stderr } = await migration;
    assert.is(result?.outcome, "moved", stderr);
    assert.match(await metrics(source), /^ums_migration_in_doubt 0$/m);
    const { answered } = watch;
    await poll("the client goes on", () => watch.answered > answered + 100, { timeoutMs: 60_000 });
    const { problems, gapMs } = await watch.stop();
    assert.equal(problems, []);
    console.log(`longest time between two answers: ${gapMs.toFixed(0)} ms`);
    const printed = [await source.printed(), await destination.printed()];
    assert.is(findCountProblem(printed), undefined);
  }));

test("rollback --fenced: the destination is gone, the service goes on with its memory", () =>
  withDoubt("back", async ({ lab, source, destination, watch, migration }) => {
    await cut(destination, source);
    await decide(source);
    await stateIs(source, "COMMITTED");
    await destination.remove();
    const done = await timed("rollback --fenced", () => source.ums("rollback", "--fenced"));
    assert.is(done.exitCode, 0, done.stderr);
    const status = await source.status();
    assert.equal([status.state, status.here, status.owner], ["ACTIVE", "running", "here"]);
    assert.match(status.fence, /^operator local at 20/);
    const { result, stderr } = await migration;
    assert.is(result?.runsOn, "source");
    assert.match(stderr, "rollback --fenced by operator local");
    const { answered } = watch;
    await poll("the client goes on", () => watch.answered > answered + 100, { timeoutMs: 60_000 });
    const { problems } = await watch.stop();
    assert.equal(problems, []);
    assert.is(findCountProblem([await source.printed()]), undefined);
    await source.move(await lab.start("c"));
  }));

test("takeover --fenced: the source is gone, the service goes on where it is PREPARED", () =>
  withDoubt("over", async ({ lab, source, destination, watch, migration }) => {
    assert.is((await destination.status()).state, "PREPARED");
    const alive = await destination.ums("takeover", "--fenced");
    assert.match(alive.stderr, "ERR_NOT_FENCED", "the source answers: it is undecided");
    await source.remove();
    await migration;
    const last = watch.answered;
    await watch.stop();
    const unfenced = await destination.ums("takeover");
    assert.is(unfenced.exitCode, conflictExitCode, unfenced.stderr);
    const done = await timed("takeover --fenced", () => destination.ums("takeover", "--fenced"));
    assert.is(done.exitCode, 0, done.stderr);
    const status = await destination.status();
    assert.equal([status.state, status.here, status.owner], ["ACTIVE", "running", "here"]);
    assert.match(status.fence, /^operator local at 20/);
    const next = Number(await askOnce({ host: destination.ip, port }, "next"));
    assert.ok(next === last + 1 || next === last + 2, `${next} came after ${last}`);
    await destination.move(await lab.start("c"));
  }));

interface Doubt {
  lab: OuterLab;
  source: OuterContainer;
  destination: OuterContainer;
  /** On the source's published port; begun before the migration. */
  watch: Watch;
  migration: Promise<Migrated>;
}

/** A migration that stands just before its decision: PREPARED there, not COMMITTED here. */
async function withDoubt(name: string, use: (doubt: Doubt) => Promise<void>): Promise<void> {
  const env = { UMS_TEST_FAULTS: faultDir };
  const args = ["counter", String(counterMib)];
  const lab = await openOuterLab(`ums-test-doubt-${name}`);
  let watch: Watch | undefined;
  try {
    const [source, destination] = await Promise.all([
      lab.start("a", { image, args, env, ports: [port] }),
      lab.start("b"),
    ]);
    watch = await watchCounter(source.port(port), doubtTimeoutMs);
    await source.exec("sh", "-c", `mkdir -p ${faultDir} && echo pause >${point}`);
    const migration = source.migrate(destination, "--downtime-budget", "60000");
    await poll("the decision", () => exists(source, `${point}.reached`), { timeoutMs: 90_000 });
    await use({ lab, source, destination, watch, migration });
  } finally {
    await watch?.stop();
    await lab.close();
  }
}

/** Lets the source decide. */
async function decide(source: OuterContainer): Promise<void> {
  await source.exec("rm", `${point}.reached`);
}

/** Drops every packet between the two. */
async function cut(at: OuterContainer, other: OuterContainer): Promise<void> {
  const { exitCode, stderr } = await at.exec(
    "nft",
    `add table ip cut
     add chain ip cut in { type filter hook input priority -300; }
     add chain ip cut out { type filter hook output priority -300; }
     add rule ip cut in ip saddr ${other.ip} drop
     add rule ip cut out ip daddr ${other.ip} drop`,
  );
  assert.is(exitCode, 0, stderr);
}

async function heal(at: OuterContainer): Promise<void> {
  assert.is((await at.exec("nft", "delete table ip cut")).exitCode, 0);
}

async function importCommit(at: OuterContainer, certificate: string) {
  await at.exec("sh", "-c", `echo '${certificate}' >${certificatePath}`);
  return await at.ums("commit", "import", certificatePath);
}

async function stateIs(outer: OuterContainer, state: string): Promise<void> {
  const isThere = async () => (await outer.status()).state === state;
  await poll(`${outer.name} is ${state}`, isThere, { timeoutMs: 60_000 });
}

async function exists(outer: OuterContainer, path: string): Promise<boolean> {
  return (await outer.exec("test", "-e", path)).exitCode === 0;
}

async function metrics({ ip }: OuterContainer): Promise<string> {
  return await (await fetch(`http://${ip}:9751/metrics`)).text();
}

async function timed<T>(what: string, work: () => Promise<T>): Promise<T> {
  const startedMs = performance.now();
  const result = await work();
  console.log(`${what}: ${(performance.now() - startedMs).toFixed(0)} ms`);
  return result;
}

if (requires("root", "docker")) test.run();
