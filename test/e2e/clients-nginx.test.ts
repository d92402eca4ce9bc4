/** nginx moves under two ab (apache2-utils): kept connections, and a new one for each request. */
import * as assert from "uvu/assert";
import { poll, sleep } from "../../src/lib/deadline.js";
import { type ClientLoop, startClientLoop } from "../lib/client-loop.js";
import { type OuterContainer, type OuterLab, openOuterLab } from "../lib/outer.js";
import { outerWithFixture } from "../lib/outer-image.js";
import { requires } from "../lib/requires.js";
import { suite } from "../lib/suite.js";

const port = 80;
const clients = 8;
/** In one run of the benchmark. */
const requests = 2_000;
const answerTimeoutSeconds = 60;
/** Load before the move and after it. */
const leadMs = 2_000;
/** Beyond the freeze, on a machine that is busy with other things (docs/clients.md). */
const maxExtraGapMs = 1_000;

const prefix = "ums-test-clients-nginx";

const test = suite("ab during a migration of nginx");
let lab: OuterLab;
let source: OuterContainer;
let destination: OuterContainer;
let loops: ClientLoop[] = [];

test.before(async () => {
  lab = await openOuterLab(prefix);
  const image = await outerWithFixture("nginx");
  [source, destination] = await Promise.all([
    lab.start("a", { image, env: { FILE_MIB: "1" }, ports: [port] }),
    lab.start("b"),
  ]);
  const isServing = () =>
    fetch(url(), { signal: AbortSignal.timeout(2_000) }).then(
      ({ ok }) => ok,
      () => false,
    );
  await poll("nginx serves", isServing, { timeoutMs: 60_000, intervalMs: 200 });
});

test.after(async () => {
  await Promise.all(loops.map((loop) => loop.stop()));
  await lab?.close();
});

test("fails no request, on kept connections and on new ones", async () => {
  loops = [ab("kept", "-k"), ab("new")];
  await sleep(leadMs);
  const { freezeMs } = await source.move(destination);
  await sleep(leadMs);
  for (const [index, loop] of loops.entries()) {
    const { exitCode, stdout, stderr } = await loop.stop();
    assert.is(exitCode, 0, `${stdout}${stderr}`);
    const numbers = (pattern: RegExp) =>
      [...stdout.matchAll(pattern)].map(([, number]) => Number(number));
    const complete = numbers(/Complete requests: +(\d+)/g);
    assert.equal([...new Set(complete)], [requests]);
    assert.equal([...new Set(numbers(/Failed requests: +(\d+)/g))], [0], stdout);
    assert.not.match(stdout, "Non-2xx");
    const gapMs = Math.max(...numbers(/100% +(\d+) \(longest request\)/g));
    const text = `gap ${gapMs} ms, freeze ${Math.round(freezeMs)} ms`;
    console.log(`ab, ${index === 0 ? "kept" : "new"}: ${complete.length * requests}, ${text}`);
    assert.ok(gapMs > freezeMs / 2, `no run was under way: ${text}`);
    assert.ok(gapMs <= freezeMs + maxExtraGapMs, text);
  }
});

function ab(name: string, ...options: string[]): ClientLoop {
  const load = ["-c", String(clients), "-n", String(requests), "-s", String(answerTimeoutSeconds)];
  return startClientLoop({
    name: `${prefix}-${name}`,
    lab: prefix,
    image: "ums-fixture/nginx",
    argv: ["ab", "-q", ...options, ...load, url()],
  });
}

function url(): string {
  const { host, port: hostPort } = source.port(port);
  return `http://${host}:${hostPort}/health`;
}

if (requires("root", "docker")) test.run();
