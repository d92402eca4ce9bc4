/** The TUN device itself: queue, batches, loss, end. In a namespace of its own, by an agent. */

import * as assert from "uvu/assert";
import { run } from "../../src/lib/exec.js";
import { type Agent, inNetns, startAgent } from "../lib/netns.js";
import { requires } from "../lib/requires.js";
import { suite } from "../lib/suite.js";

if (!requires("root", "ip")) process.exit(0);

const test = suite("TUN device");
const netns = "ums3-tun";
let agent: Agent;

test.before(async () => {
  await run(["ip", "netns", "del", netns]).catch(() => "there was none");
  await run(["ip", "netns", "add", netns]);
  agent = await startAgent(netns, "tun-agent.js");
});

test.after(async () => {
  await agent.kill();
  await run(["ip", "netns", "del", netns]);
});

test("keeps packets while nobody reads, and hands them over in order", async () => {
  await agent.call("open", 100);
  await inNetns(netns, ["ip", "addr", "add", "10.77.0.1/24", "dev", "ums-test"]);
  await agent.call("send", 150, 100);
  assert.is(await agent.call("dropped"), 50);
  const first = await agent.call<number[]>("read", 100);
  assert.equal(first, [...Array(100).keys()]);
});

test("pauses and resumes", async () => {
  await agent.call("pause");
  await agent.call("send", 10, 100);
  assert.equal(await agent.call("read", 0), []);
  await agent.call("resume");
  assert.equal(await agent.call("read", 10), [...Array(10).keys()]);
});

test("refuses a name that is taken", async () => {
  const second = await startAgent(netns, "tun-agent.js");
  try {
    const error = await second.call("open", 10).catch((thrown: Error) => thrown.message);
    assert.match(String(error), /EBUSY/);
  } finally {
    await second.kill();
  }
});

test("goes with its descriptors", async () => {
  await agent.call("close");
  const links = await inNetns(netns, ["ip", "-o", "link", "show"]);
  assert.not.match(links, /ums-test/);
});

test("says when it is deleted by someone else", async () => {
  await agent.call("open", 100);
  await agent.call("read", 0);
  await inNetns(netns, ["ip", "link", "del", "ums-test"]);
  assert.is(await agent.call("lost"), "ERR_NETWORK_SETUP");
  assert.is(await agent.call("dropped"), 0);
  await agent.call("close");
});

test.run();
