/** Publishing, holding and releasing in one outer container's network namespace. */

import * as assert from "uvu/assert";
import { sleep } from "../../src/lib/deadline.js";
import { type Agent, openTestNetwork, serviceAddress, startAgent } from "../lib/netns.js";
import { requires } from "../lib/requires.js";
import { suite } from "../lib/suite.js";

if (!requires("root", "ip", "nft", "iptables", "conntrack")) process.exit(0);

const test = suite("network of one outer container");
const network = await openTestNetwork("ums1");
const outer = await network.addOuter("a");
const agents: Agent[] = [];
const queuePackets = 200;
let supervisor: Agent;
let client: Agent;
let service: Agent;

test.before(async () => {
  client = await start(network.client, "echo-agent.js");
  service = await start(outer.holder, "echo-agent.js");
  supervisor = await start(outer.name, "network-agent.js");
  await service.call("serve", "a", 80, serviceAddress);
  await supervisor.call("open", outer.address, queuePackets);
  const own = { protocol: "tcp", port: 9750 };
  await supervisor.call("publish", [own], [{ protocol: "tcp", port: 80 }]);
  await client.call("openUdp", 4000);
});

test.after(async () => {
  for (const agent of agents) await agent.kill();
  await network.close();
});

test("passes TCP and UDP on with the client's own address", async () => {
  await client.call("connect", "tcp", outer.address, 80, 5001);
  await client.call("send", "tcp", "hello");
  assert.equal(await client.call("lines", "tcp", 1), [`a ${network.clientAddress}:5001 hello`]);
  await client.call("sendUdp", ["hello"], outer.address, 80);
  assert.equal(await client.call("datagrams", 1), [`a ${network.clientAddress}:4000 hello`]);
});

test("keeps the supervisor's ports for itself", async () => {
  const own = await start(outer.name, "echo-agent.js");
  await own.call("serve", "supervisor", 9750, outer.address);
  await client.call("connect", "own", outer.address, 9750, 5002);
  await client.call("send", "own", "hello");
  const expected = [`supervisor ${network.clientAddress}:5002 hello`];
  assert.equal(await client.call("lines", "own", 1), expected);
});

test("passes connections from inside the outer container on, by any of its addresses", async () => {
  const inside = await start(outer.name, "echo-agent.js");
  for (const address of ["127.0.0.1", outer.address]) {
    await inside.call("connect", address, address, 80);
    await inside.call("send", address, "probe");
    const [line] = await inside.call<string[]>("lines", address, 1);
    assert.match(line ?? "", new RegExp(`^a ${outer.address}:\\d+ probe$`));
  }
});

test("hides the service behind the outer container's address on the way out", async () => {
  await client.call("serve", "client", 7000, network.clientAddress);
  await service.call("connect", "out", network.clientAddress, 7000);
  await service.call("send", "out", "hello");
  const [line] = await service.call<string[]>("lines", "out", 1);
  assert.match(line ?? "", new RegExp(`^client ${outer.address}:\\d+ hello$`));
});

test("lists the flows of both directions", async () => {
  const flows =
    await supervisor.call<{ remoteAddress: string; servicePort: number }[]>("listFlows");
  const remote = network.clientAddress;
  const served = { protocol: "tcp", remoteAddress: remote, remotePort: 5001, servicePort: 80 };
  assert.ok(flows.some((flow) => JSON.stringify(flow) === JSON.stringify(served)));
  assert.ok(flows.some((flow) => "remotePort" in flow && flow.remotePort === 7000));
});

test("holds new connections and datagrams, and lets them through in order", async () => {
  const engageMs = await supervisor.call<number>("engage");
  const texts = Array.from({ length: 50 }, (_, index) => `held ${index}`);
  await client.call("sendUdp", texts, outer.address, 80);
  await client.call("connect", "begun", outer.address, 80, 5003);
  await client.call("send", "begun", "begun while held");
  await client.call("send", "tcp", "said while held");
  assert.equal(await client.call("datagrams", 51), [], "nothing is answered while held");
  assert.equal(await supervisor.call("isEngaged"), true);

  const releaseMs = await supervisor.call<number>("release");
  const expected = texts.map((text) => `a ${network.clientAddress}:4000 ${text}`);
  assert.equal(await client.call("datagrams", 50), expected);
  assert.equal(await client.call("lines", "begun", 1), [
    `a ${network.clientAddress}:5003 begun while held`,
  ]);
  const [, line] = await client.call<string[]>("lines", "tcp", 2);
  assert.is(line, `a ${network.clientAddress}:5001 said while held`);
  console.log(`engage ${engageMs.toFixed(1)} ms, release ${releaseMs.toFixed(1)} ms`);
});

test("drops what the service's kernel sends while held", async () => {
  await supervisor.call("engage");
  await service.call("push", "from the held service");
  await sleep(150);
  assert.is((await client.call<string[]>("lines", "tcp", 0)).length, 2);
  await supervisor.call("release");
  assert.is((await client.call<string[]>("lines", "tcp", 3)).length, 3, "repeated by TCP");
});

test("bounds the queue and counts what it drops", async () => {
  await supervisor.call("engage");
  const texts = Array.from({ length: 500 }, (_, index) => `${index}`);
  await client.call("sendUdp", texts, outer.address, 80);
  const { droppedPackets } = await supervisor.call<{ droppedPackets: number }>("holdStats");
  await supervisor.call("release");
  const answers = await client.call<string[]>("datagrams", 500);
  // Up to 15 places stay taken by packets read before (the kernel's ptr_ring frees in batches).
  assert.ok(answers.length <= queuePackets && answers.length > queuePackets - 16);
  assert.is(answers.at(-1), `a ${network.clientAddress}:4000 ${answers.length - 1}`);
  assert.is(droppedPackets, 500 - answers.length);
});

test("lets TCP recover what the full queue dropped", async () => {
  await client.call("connect", "crowded", outer.address, 80, 5020);
  await client.call("send", "crowded", "before");
  assert.is((await client.call<string[]>("lines", "crowded", 1)).length, 1);
  await supervisor.call("engage");
  const texts = Array.from({ length: 500 }, (_, index) => `${index}`);
  await client.call("sendUdp", texts, outer.address, 80);
  const full = await supervisor.call<{ droppedPackets: number }>("holdStats");
  await client.call("send", "crowded", "while full");
  await client.call("connect", "begun while full", outer.address, 80, 5021);
  await sleep(100);
  const after = await supervisor.call<{ droppedPackets: number }>("holdStats");
  assert.ok(after.droppedPackets > full.droppedPackets, "the queue was not full");
  await supervisor.call("release");
  await client.call("send", "begun while full", "hello");
  const [, line] = await client.call<string[]>("lines", "crowded", 2);
  assert.is(line, `a ${network.clientAddress}:5020 while full`);
  assert.equal(await client.call("lines", "begun while full", 1), [
    `a ${network.clientAddress}:5021 hello`,
  ]);
  await client.call("datagrams", 500);
});

test("stays held when the supervisor is killed, and the next one takes over", async () => {
  await supervisor.call("engage");
  await supervisor.kill();
  await client.call("sendUdp", ["lost in between"], outer.address, 80);
  assert.equal(await client.call("datagrams", 1), []);

  supervisor = await start(outer.name, "network-agent.js");
  await supervisor.call("open", outer.address, queuePackets);
  await supervisor.call("publish", [], []);
  assert.equal(await supervisor.call("isEngaged"), true);
  await client.call("sendUdp", ["queued again"], outer.address, 80);
  await supervisor.call("release");
  assert.equal(await client.call("datagrams", 1), [`a ${network.clientAddress}:4000 queued again`]);
  await client.call("send", "tcp", "after the restart");
  assert.is((await client.call<string[]>("lines", "tcp", 4)).length, 4);
});

test("opens the door again that a killed supervisor had closed", async () => {
  await supervisor.call("closeDoor");
  await client.call("send", "tcp", "an open connection goes on");
  assert.is((await client.call<string[]>("lines", "tcp", 5)).length, 5);
  await supervisor.kill();

  supervisor = await start(outer.name, "network-agent.js");
  await supervisor.call("open", outer.address, queuePackets);
  await supervisor.call("publish", [], []);
  await supervisor.call("release");
  await client.call("connect", "late", outer.address, 80);
  await client.call("send", "late", "hello");
  assert.is((await client.call<string[]>("lines", "late", 1)).length, 1);
});

test("leaves nothing but the table when closed", async () => {
  await supervisor.call("closeHold");
  await client.call("send", "tcp", "still served");
  assert.is((await client.call<string[]>("lines", "tcp", 6)).length, 6);
});

test.run();

async function start(netns: string, file: string): Promise<Agent> {
  const agent = await startAgent(netns, file);
  agents.push(agent);
  return agent;
}
