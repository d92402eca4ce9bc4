/** Redis comes back to a place whose network still knows connections of the earlier stay. */
import * as assert from "uvu/assert";
import { type OuterContainer, type OuterLab, openOuterLab } from "../lib/outer.js";
import { outerWithFixture } from "../lib/outer-image.js";
import { whenRedisAnswers } from "../lib/redis-load.js";
import { requires } from "../lib/requires.js";
import { suite } from "../lib/suite.js";

const port = 6379;

const test = suite("migration back to where connections are remembered");
let lab: OuterLab;
let a: OuterContainer;
let b: OuterContainer;

test.before(async () => {
  lab = await openOuterLab("ums-test-returning");
  const image = await outerWithFixture("redis");
  [a, b] = await Promise.all([lab.start("a", { image, ports: [port] }), lab.start("b")]);
  (await whenRedisAnswers(a.port(port))).close();
});

test.after(async () => {
  await lab?.close();
});

test("comes again with a half-open connection from a port that it knows as used", async () => {
  await a.move(b);
  await b.move(a);
  await remember(b, "ESTABLISHED", "SEEN_REPLY,ASSURED");
  await remember(a, "SYN_SENT");
  await a.move(b);
  assert.is((await b.status()).here, "running");
});

/** Puts a connection into the tracking of the service's own network. */
async function remember(outer: OuterContainer, state: string, status?: string): Promise<void> {
  const script = [
    "pid=$(docker inspect --format '{{.State.Pid}}' ums-holder)",
    `exec nsenter --net=/proc/$pid/ns/net conntrack -I -p tcp -s 192.0.2.1 -d 10.209.0.2 \
      --sport 5001 --dport ${port} --state ${state} ${status ? `--status ${status}` : ""} -t 300`,
  ].join("\n");
  const { exitCode, stderr } = await outer.exec("sh", "-c", script);
  assert.is(exitCode, 0, stderr);
}

if (requires("root", "docker")) test.run();
