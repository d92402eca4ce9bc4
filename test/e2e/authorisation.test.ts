/** Who may migrate where: whoever is refused changes nothing, and the service runs on. */
import * as assert from "uvu/assert";
import type { ErrorCode } from "../../src/errors.js";
import type { OperatorClient } from "../../src/grpc/operator-client.js";
import { poll } from "../../src/lib/deadline.js";
import { type Watch, watchCounter } from "../lib/counter-watch.js";
import { rejectsWith } from "../lib/errors.js";
import { askOnce } from "../lib/line-client.js";
import { type Migrated, type OuterContainer, type OuterLab, openOuterLab } from "../lib/outer.js";
import { outerWithFixture } from "../lib/outer-image.js";
import { requires } from "../lib/requires.js";
import { suite } from "../lib/suite.js";

const port = 7000;
const restartTimeoutMs = 60_000;
const aMinuteMs = 60_000;

const test = suite("authorisation");
let lab: OuterLab;
/** Has the service; takes nothing in, and goes nowhere but to b. */
let a: OuterContainer;
/** Takes what shows a token, and what comes from peers called friend-. */
let b: OuterContainer;
let watch: Watch;
let used: string;
/** As it was before whoever is refused asked. */
let stateOfB = "PASSIVE";

test.before(async () => {
  lab = await openOuterLab("ums-test-authorisation");
  const image = await outerWithFixture("programs");
  const env = { UMS_ALLOW_FROM: "", UMS_ALLOW_TO: "b", UMS_SERVICE_NAME: "svc" };
  [a, b] = await Promise.all([
    lab.start("a", { image, env, args: ["counter", "16"], ports: [port] }),
    lab.start("b", { env: { UMS_ALLOW_FROM: "friend-*", UMS_ALLOW_OPERATORS: "boss" } }),
  ]);
  watch = await watchCounter(a.port(port));
});

test.after(async () => {
  await watch?.stop();
  await lab?.close();
});

test("a source that was not let in is refused, and told how it could be", async () => {
  const { stderr } = await refused("ERR_NOT_ALLOWED");
  assert.match(stderr, "ums token --from a");
  assert.match(stderr, "UMS_ALLOW_FROM");
});

test("a token that is not for this migration is refused", async () => {
  await refused("ERR_TOKEN_REFUSED", "--token", "nonsense");
  await refused("ERR_TOKEN_REFUSED", "--token", await tokenOf(b, "--from", "friend-1"));
  await refused("ERR_TOKEN_REFUSED", "--token", await tokenOf(a, "--from", "a"));
  const small = await tokenOf(b, "--from", "a", "--max-memory", "1m");
  assert.match((await refused("ERR_TOKEN_REFUSED", "--token", small)).stderr, "1048576 bytes");
  const other = await tokenOf(b, "--from", "a", "--service", "other");
  await refused("ERR_TOKEN_REFUSED", "--token", other);
  const image = await tokenOf(b, "--from", "a", "--image", `sha256:${"0".repeat(64)}`);
  await refused("ERR_TOKEN_REFUSED", "--token", image);
  const short = await tokenOf(b, "--from", "a", "--ttl", "1s");
  await new Promise((resolve) => setTimeout(resolve, 1_100));
  assert.match((await refused("ERR_TOKEN_REFUSED", "--token", short)).stderr, "expired");
});

test("an order for a token that makes no sense is a usage error", async () => {
  const wrong = [
    ["--from", "A/b"],
    [],
    ["--from", "a", "--ttl", "11m"],
    ["--from", "a", "--ttl", "0s"],
  ];
  for (const flags of [...wrong, ["--from", "a", "--max-memory", "much"]]) {
    const { exitCode, stderr } = await b.ums("token", ...flags);
    assert.is(exitCode, 64, stderr);
    assert.match(stderr, "ERR_CONFIG_INVALID");
  }
});

test("only operators give orders, only those of the list, and observers look", async () => {
  const [boss, mate, eye] = await Promise.all([
    lab.operate(b, { name: "boss" }),
    lab.operate(b, { name: "mate" }),
    lab.operate(b, { name: "eye", role: "observer" }),
  ]);
  const peer = await lab.operate(b, { name: "c", role: "peer" });
  const order = { destination: a.peerAddress, destinationName: "", service: "" };
  const migrate = (client: OperatorClient) =>
    client.migrate({ ...order, downtimeBudgetMs: 1_000 }, () => undefined);
  const orders = [
    migrate,
    (client: OperatorClient) => client.cancel(""),
    (client: OperatorClient) => client.issueToken({ source: "a" }),
  ];
  await rejectsWith("ERR_NOT_ALLOWED", mate.status());
  await rejectsWith("ERR_PEER_IDENTITY", peer.status());
  for (const give of orders) {
    await rejectsWith("ERR_NOT_ALLOWED", give(mate));
    await rejectsWith("ERR_PEER_IDENTITY", give(eye));
    await rejectsWith("ERR_PEER_IDENTITY", give(peer));
  }
  assert.is((await eye.status()).state, "PASSIVE");
  assert.is((await boss.status()).state, "PASSIVE");
  // Not refused for who gives the order, but for what is ordered.
  await rejectsWith("ERR_SERVICE_NOT_FOUND", migrate(boss));
  const { expiresAt } = await boss.issueToken({ source: "a", ttlSeconds: 60 });
  assert.ok(Math.abs(expiresAt.getTime() - Date.now() - aMinuteMs) < 10_000, String(expiresAt));
  for (const client of [boss, mate, eye, peer]) client.close();
});

test("a token is used up by a migration that failed, also after a restart", async () => {
  used = await tokenOf(b, "--from", "a", "--service", "svc", "--max-memory", "512m");
  const { code } = await a.migrate(b, "--token", used, "--downtime-budget", "1");
  assert.is(code, "ERR_DEADLINE");
  await isFree();
  assert.match((await refused("ERR_TOKEN_REFUSED", "--token", used)).stderr, "was used");
  await restartSupervisor(b);
  assert.match((await refused("ERR_TOKEN_REFUSED", "--token", used)).stderr, "was used");
});

test("a token is good once, also if the supervisor was killed before", async () => {
  const certificate = (await a.exec("cat", "/etc/ums/tls/tls.crt")).stdout;
  await b.exec("sh", "-c", `cat >/tmp/a.crt <<'E'\n${certificate}E`);
  used = await tokenOf(b, "--certificate", "/tmp/a.crt", "--max-memory", "512m");
  await restartSupervisor(b);
  await a.move(b, "--token", used);
  assert.match(await askOnce(a.port(port), "check"), /^ok /);
  assert.is((await b.status()).here, "running");
  assert.is((await a.status()).state, "RETIRED");
});

test("a service that comes back needs leave as any other", async () => {
  const back = await b.migrate(a);
  assert.is(back.code, "ERR_NOT_ALLOWED", back.stderr);
  const token = await tokenOf(a, "--from", "b");
  await b.exec("sh", "-c", `umask 077; echo ${token} >/tmp/token`);
  await b.move(a, "--token-file", "/tmp/token");
  stateOfB = "RETIRED";
  assert.match(await askOnce(a.port(port), "check"), /^ok /);
});

test("the token of the first journey is good for no second one", async () => {
  assert.match((await refused("ERR_TOKEN_REFUSED", "--token", used)).stderr, "was used");
  await restartSupervisor(b);
  assert.match((await refused("ERR_TOKEN_REFUSED", "--token", used)).stderr, "was used");
});

test("a service goes only where its outer container may send it", async () => {
  const stranger = await lab.start("stranger");
  for (const flags of [[], ["--name", "stranger"]]) {
    const { code, stderr } = await a.migrate(stranger, ...flags);
    assert.is(code, "ERR_NOT_ALLOWED", stderr);
    assert.match(stderr, "UMS_ALLOW_TO");
  }
  assert.is((await stranger.status()).state, "PASSIVE");
  assert.is((await stranger.status()).migrationId, "", "it was told of the migration");
  await stranger.remove();
});

test("a source on the list needs no token, but one that it shows must be good", async () => {
  const image = await outerWithFixture("programs");
  const friend = await lab.start("friend-1", { image, args: ["counter", "16"], ports: [port] });
  const { code } = await friend.migrate(b, "--token", used);
  assert.is(code, "ERR_TOKEN_REFUSED");
  await friend.move(b);
  assert.match(await askOnce(friend.port(port), "check"), /^ok /);
});

test("all this has cost no request, and has told no token to a log", async () => {
  const report = await watch.stop();
  assert.equal(report.problems, []);
  for (const outer of [a, b]) {
    const log = await lab.log(outer);
    assert.ok(log.includes('"code":"ERR_TOKEN_REFUSED"'), `${outer.name} has logged no refusal`);
    assert.is(log.includes(used), false, `${outer.name} has logged a token`);
    assert.is(/eyJ[\w-]+\.eyJ/.test(log), false, `${outer.name} has logged a token`);
  }
});

/** Expects a refusal that leaves the service running and the destination as it was. */
async function refused(code: ErrorCode, ...flags: string[]): Promise<Migrated> {
  const done = await a.migrate(b, ...flags);
  assert.is(done.code, code, done.stderr);
  assert.is(done.result?.runsOn ?? "source", "source");
  const [{ state, here }, destination] = await Promise.all([a.status(), b.status()]);
  assert.equal({ state, here }, { state: "ACTIVE", here: "running" });
  assert.match(await askOnce(a.port(port), "check"), /^ok /);
  assert.is(destination.state, stateOfB);
  return done;
}

async function tokenOf(outer: OuterContainer, ...flags: string[]): Promise<string> {
  const { exitCode, stdout, stderr } = await outer.ums("token", ...flags);
  assert.is(exitCode, 0, stderr);
  assert.match(stdout, /^[\w-]+\.[\w-]+\.[\w-]+\n$/);
  return stdout.trim();
}

/** `kill -9`; the entrypoint starts another supervisor. */
async function restartSupervisor(outer: OuterContainer): Promise<void> {
  const pid = async () => (await outer.exec("pgrep", "-f", "main.js supervise")).stdout.trim();
  const before = await pid();
  assert.match(before, /^\d+$/);
  await outer.exec("kill", "-9", before);
  const isBack = async () => {
    const now = await pid();
    if (now === "" || now === before) return false;
    return (await outer.ums("status")).exitCode === 0;
  };
  await poll("the next supervisor", isBack, { timeoutMs: restartTimeoutMs, intervalMs: 200 });
}

async function isFree(): Promise<void> {
  const isDone = async () => {
    stateOfB = (await b.status()).state;
    return ["REFUSED", "DISCARDED"].includes(stateOfB);
  };
  await poll("the end of the failed migration at b", isDone, { timeoutMs: restartTimeoutMs });
}

if (requires("root", "docker")) test.run();
