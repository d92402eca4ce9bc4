/**
 * nginx moves from a to b to c and home again, each time with another way of dealing with clients: redirected,
 * asked to come again, and held by a Frontman beside it. Every request is a connection of its own.
 */
import { once } from "node:events";
import { Agent, type IncomingMessage, request } from "node:http";
import { createServer } from "node:net";
import * as assert from "uvu/assert";
import { poll, sleep } from "../../src/lib/deadline.js";
import { run } from "../../src/lib/exec.js";
import { portOf } from "../lib/front.js";
import { type OuterContainer, type OuterLab, openOuterLab } from "../lib/outer.js";
import { outerWithFixture, plainOuterImage } from "../lib/outer-image.js";
import { requires } from "../lib/requires.js";
import { suite } from "../lib/suite.js";
import { killInOuter } from "./drop-in-outer.js";

const prefix = "ums-test-frontman";
const port = 80;
const httpPort = 9751;
/** Its command line in the outer container has this. */
const supervisor = "main.js supervise";
const intervalMs = 50;
const requestTimeoutMs = 30_000;
const afterMs = 500;

interface Answer {
  path: string;
  /** 0: none, `error` says why. */
  status: number;
  headers: IncomingMessage["headers"];
  body: string;
  error?: unknown;
}

const test = suite("a Frontman during moves of nginx");
let lab: OuterLab;
let a: OuterContainer;
let b: OuterContainer;
let c: OuterContainer;
/** Where clients reach b, as it says itself. */
let publicPort: number;
let bridge: string;

test.before(async () => {
  lab = await openOuterLab(prefix);
  const image = await outerWithFixture("nginx");
  a = await lab.start("a", {
    image,
    env: { FILE_MIB: "1", UMS_FRONTMAN: `${port}=redirect` },
    ports: [port],
  });
  bridge = a.port(port).host;
  publicPort = await freePort(bridge);
  [b, c] = await Promise.all([
    lab.start("b", {
      env: {
        UMS_FRONTMAN: `${port}=retry`,
        UMS_RETRY_AFTER: "3",
        UMS_PUBLIC_ENDPOINT: `${bridge},${port}=${publicPort}`,
        UMS_LIVENESS_PATH: "/alive",
        UMS_READINESS_PATH: "/ready",
      },
      flags: ["-p", `${bridge}:${publicPort}:${port}`],
    }),
    lab.start("c"),
  ]);
  const at = a.port(port);
  const isServing = async () => (await ask(at.host, at.port, "/health")).status === 200;
  await poll("nginx serves", isServing, { timeoutMs: 60_000, intervalMs: 200 });
});

test.after(async () => {
  await lab?.close();
});

test("redirect: held during the move, then sent to the new endpoint with path and query", async () => {
  const at = a.port(port);
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  assert.is((await ask(at.host, at.port, "/health", agent)).status, 200);
  const keeping = askAllTheTime(() => "/health", at.host, at.port, agent);
  const asking = askAllTheTime(() => `/health?n=${Math.random()}`, at.host, at.port);
  const probing = askAllTheTime(() => "/readyz", a.ip, httpPort);
  const living = askAllTheTime(() => "/livez", a.ip, httpPort);
  const { freezeMs } = await a.move(b);
  await sleep(afterMs);
  const answers = await asking.stop();
  const statuses = countBy(answers);
  console.log("redirect", statuses, `freeze ${Math.round(freezeMs)} ms`);
  assert.equal(Object.keys(statuses), ["200", "307", "308"], JSON.stringify(answers.at(-1)));
  for (const { status, path, headers } of answers) {
    if (status !== 200) assert.is(headers.location, `http://${bridge}:${publicPort}${path}`);
  }
  const order = answers.map(({ status }) => status);
  assert.equal(order, [...order].sort(), "first 200, then 307, then 308");

  const landed = await fetch(`http://${at.host}:${at.port}/health?after`);
  assert.is(await landed.text(), "ok\n");
  assert.is(landed.url, `http://${bridge}:${publicPort}/health?after`);
  // The connection of before goes on through the relay: it is not redirected.
  assert.equal(Object.keys(countBy(await keeping.stop())), ["200"]);
  agent.destroy();

  assert.equal(Object.keys(countBy(await living.stop())), ["200"]);
  const ready = await probing.stop();
  assert.equal(Object.keys(countBy(ready)), ["200", "503"]);
  const frozen = ready.find(({ status }) => status === 503);
  assert.match(frozen?.body ?? "", /- migration: [A-Z]+: the service is frozen for its move to /);
});

test("what the supervisors say of the service", async () => {
  const ofA = await service(a);
  assert.is(ofA.state, "elsewhere");
  assert.equal(ofA.endpoint, { host: bridge, ports: { [port]: publicPort } });
  const ofB = await service(b);
  assert.is(ofB.state, "here");
  assert.equal(ofB.endpoint, ofA.endpoint);
  const { explanation } = await a.status();
  assert.match(explanation, /it stays until it is deleted/);
  const metrics = await (await fetch(`http://${a.ip}:${httpPort}/metrics`)).text();
  assert.match(metrics, /ums_frontman_actions_total\{port="80",action="redirect"\} [1-9]/);
});

test("redirect goes on after a crash of the supervisor", async () => {
  const at = a.port(port);
  const killed = await killInOuter(a.name, supervisor);
  assert.match(killed, /^\d+$/);
  const isRedirecting = async () => (await ask(at.host, at.port, "/health?crash")).status === 308;
  await poll("the redirect is back", isRedirecting, { timeoutMs: 60_000, intervalMs: 100 });
  const { headers } = await ask(at.host, at.port, "/health?crash");
  assert.is(headers.location, `http://${bridge}:${publicPort}/health?crash`);
});

test("retry: 503 with Retry-After and probe answers during the move, then passed on", async () => {
  const asking = askAllTheTime(() => "/health", b.ip, port);
  const living = askAllTheTime(() => "/alive", b.ip, port);
  const probing = askAllTheTime(() => "/ready", b.ip, port);
  await b.move(c);
  await sleep(afterMs);
  const answers = await asking.stop();
  console.log("retry", countBy(answers));
  assert.equal(Object.keys(countBy(answers)), ["200", "503"]);
  for (const { status, headers } of answers) {
    if (status === 503) assert.is(headers["retry-after"], "3");
  }
  assert.is(answers.at(-1)?.status, 200, "relayed after the move");
  // nginx knows neither path: 404 is its own answer, before and after.
  assert.equal(Object.keys(countBy(await living.stop())), ["200", "404"]);
  assert.equal(Object.keys(countBy(await probing.stop())), ["404", "503"]);
});

test("a Frontman beside the service: no request fails during the move, nor without the source", async () => {
  const front = await startFrontman(c);
  const isServing = async () => (await ask(front, port, "/health")).status === 200;
  await poll("the Frontman serves", isServing, { timeoutMs: 30_000, intervalMs: 100 });
  const asking = askAllTheTime(() => "/health", front, port);
  const agent = new Agent({ keepAlive: true, maxSockets: 4 });
  const keeping = askAllTheTime(() => "/health", front, port, agent);
  await c.move(a);
  await sleep(afterMs);
  const [fresh, kept] = await Promise.all([asking.stop(), keeping.stop()]);
  agent.destroy();
  console.log("home 2", countBy(fresh), countBy(kept), `longest ${asking.longestMs()} ms`);
  for (const { error } of [...fresh, ...kept]) assert.is(error, undefined);
  assert.ok(fresh.length > 20 && kept.length > 20);
  assert.equal(Object.keys(countBy(fresh)), ["200"]);
  assert.equal(Object.keys(countBy(kept)), ["200"]);

  const gone = [b.name, c.name];
  await run(["docker", "rm", "--force", "--volumes", ...gone], { timeoutMs: 120_000 });
  for (let count = 0; count < 5; count += 1) {
    assert.is((await ask(front, port, "/health")).status, 200, "from the new endpoint");
  }
});

/** `ums frontman` in a container of its own; returns its address. */
async function startFrontman(of: OuterContainer): Promise<string> {
  const name = `${prefix}-front`;
  await run([
    ...["docker", "run", "-d", "--name", name, "--label", `ums.test=${prefix}`, plainOuterImage],
    ...["ums", "frontman", "--supervisor", `http://${of.ip}:${httpPort}`],
    ...["--listen", `${port}=hold`],
  ]);
  const format = "{{.NetworkSettings.IPAddress}}";
  return (await run(["docker", "inspect", "--format", format, name])).stdout.trim();
}

async function service(of: OuterContainer) {
  const response = await fetch(`http://${of.ip}:${httpPort}/v1/service`);
  return (await response.json()) as { state: string; endpoint: unknown };
}

interface Asking {
  /** Answers in the order of the requests. */
  stop(): Promise<Answer[]>;
  longestMs(): number;
}

/** Asks again and again, without waiting for the answers. */
function askAllTheTime(path: () => string, host: string, at: number, agent?: Agent): Asking {
  const answers: Promise<Answer>[] = [];
  let longestMs = 0;
  const timer = setInterval(() => {
    const startedMs = performance.now();
    const answer = ask(host, at, path(), agent).finally(() => {
      longestMs = Math.max(longestMs, Math.round(performance.now() - startedMs));
    });
    answers.push(answer);
  }, intervalMs);
  return {
    longestMs: () => longestMs,
    stop() {
      clearInterval(timer);
      return Promise.all(answers);
    },
  };
}

/** Never rejects: an error is an answer that clients must not get. */
async function ask(host: string, at: number, path: string, agent?: Agent): Promise<Answer> {
  const options = { host, port: at, path, agent: agent ?? false, timeout: requestTimeoutMs };
  const sending = request(options);
  sending.on("timeout", () => sending.destroy(new Error("no answer in time")));
  sending.end();
  try {
    const [response] = (await once(sending, "response")) as [IncomingMessage];
    let body = "";
    for await (const chunk of response) body += chunk;
    return { path, status: response.statusCode ?? 0, headers: response.headers, body };
  } catch (error) {
    return { path, status: 0, headers: {}, body: "", error };
  }
}

function countBy(answers: readonly Answer[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { status } of answers) counts[status] = (counts[status] ?? 0) + 1;
  return counts;
}

async function freePort(host: string): Promise<number> {
  const server = createServer().listen(0, host);
  await once(server, "listening");
  const free = portOf(server);
  server.close();
  await once(server, "close");
  return free;
}

if (requires("root", "docker")) test.run();
