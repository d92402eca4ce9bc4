/**
 * A service moves A -> B -> C -> A between the network namespaces of three outer containers. Its
 * TCP connections are moved by TCP_REPAIR, which is what CRIU does.
 */

import * as assert from "uvu/assert";
import { sleep } from "../../src/lib/deadline.js";
import { type Agent, openTestNetwork, serviceAddress, startAgent } from "../lib/netns.js";
import { requires } from "../lib/requires.js";
import { suite } from "../lib/suite.js";
import type { TcpState } from "../lib/tcp-repair.js";

interface Site {
  address: string;
  supervisor: Agent;
  service: Agent;
}

if (!requires("root", "ip", "nft", "iptables", "conntrack")) process.exit(0);

const test = suite("network of a migrating service");
const network = await openTestNetwork("ums2");
const agents: Agent[] = [];
const sites: Record<string, Site> = {};
let client: Agent;

test.before(async () => {
  client = await start(network.client, "echo-agent.js");
  for (const name of ["a", "b", "c"]) {
    const outer = await network.addOuter(name);
    const service = await start(outer.holder, "echo-agent.js");
    const supervisor = await start(outer.name, "network-agent.js");
    await service.call("serve", name, 80, serviceAddress);
    await service.call("sink", 81, serviceAddress);
    await supervisor.call("open", outer.address, 10_000);
    const own = [7001, 7002, 7003].map((port) => ({ protocol: "tcp", port }));
    await supervisor.call("publish", own, []);
    sites[name] = { address: outer.address, supervisor, service };
  }
  await client.call("openUdp", 4000);
  await client.call("serve", "client", 7000, network.clientAddress);
});

test.after(async () => {
  for (const agent of agents) await agent.kill();
  await network.close();
});

/** The order of a migration: hold, freeze, dump, restore, relay, and only then say anything. */
async function migrate(from: string, to: string, index: number, during: () => Promise<void>) {
  const source = site(from);
  const destination = site(to);
  await destination.supervisor.call("openInlet", index, 7000 + index);
  await source.supervisor.call("engage");
  const connections = await source.service.call<TcpState[]>("dump");
  const flows = await source.supervisor.call("listFlows");
  await during();
  await destination.supervisor.call("setFlows", index, flows);
  await destination.service.call("restore", connections);
  await destination.supervisor.call("release");
  await source.supervisor.call("relayTo", destination.address, 7000 + index);
}

test("goes on with its connections at the destination", async () => {
  await client.call("connect", "old", site("a").address, 80, 5001);
  await exchange("old", "one", 1, "a", 5001);
  await client.call("connect", "quiet", site("a").address, 80, 5010);
  await exchange("quiet", "one", 1, "a", 5010);
  await migrate("a", "b", 1, async () => {
    await client.call("send", "old", "two");
    await client.call("connect", "begun", site("a").address, 80, 5002);
    await client.call("send", "begun", "one");
    await client.call("sendUdp", ["0", "1", "2"], site("a").address, 80);
  });
  assert.equal((await lines("old", 2))[1], `b ${network.clientAddress}:5001 two`);
  assert.equal(await lines("begun", 1), [`b ${network.clientAddress}:5002 one`]);
  const answers = ["0", "1", "2"].map((text) => `b ${network.clientAddress}:4000 ${text}`);
  assert.equal(await client.call("datagrams", 3), answers);
  await exchange("old", "three", 3, "b", 5001);
});

test("speaks first on a connection that has been quiet since before the move", async () => {
  await site("b").service.call("push", "news");
  assert.is((await lines("quiet", 2))[1], "b news");
  await lines("old", 4);
  await lines("begun", 2);
});

test("takes direct connections at the destination meanwhile", async () => {
  await client.call("connect", "direct", site("b").address, 80, 5003);
  await exchange("direct", "one", 1, "b", 5003);
  await client.call("sendUdp", ["direct"], site("b").address, 80);
  // The flow from this client's port 4000 that came with the service goes on by the tunnel, so
  // conntrack gives this one another port, and translates the answer back.
  const [datagram] = await client.call<string[]>("datagrams", 1);
  assert.match(datagram ?? "", new RegExp(`^b ${network.clientAddress}:\\d+ direct$`));
  assert.ok((await site("b").supervisor.call<number>("inletFlows", 1)) >= 2);
});

test("begins new connections of its own from the destination's address", async () => {
  const { service, address } = site("b");
  await service.call("connect", "out", network.clientAddress, 7000);
  await service.call("send", "out", "hello");
  const [line] = await service.call<string[]>("lines", "out", 1);
  assert.match(line ?? "", new RegExp(`^client ${address}:\\d+ hello$`));
});

test("is no way for the destination into the source's network", async () => {
  const { service, supervisor } = site("b");
  const remoteAddress = network.clientAddress;
  const flow = { protocol: "tcp", remoteAddress, remotePort: 7000, servicePort: 6000 };
  await supervisor.call("setFlows", 1, [flow]);
  await service.call("connect", "intruder", remoteAddress, 7000, 6000);
  await service.call("send", "intruder", "hello");
  await sleep(300);
  assert.equal(await service.call("lines", "intruder", 0), []);
  await service.call("hangUp", "intruder");
});

test("moves on, and connections of all earlier places follow", async () => {
  await migrate("b", "c", 2, async () => {
    await client.call("send", "old", "five");
    await client.call("send", "direct", "two");
    await client.call("connect", "through both", site("a").address, 80, 5004);
    await client.call("send", "through both", "one");
  });
  assert.equal((await lines("old", 5))[4], `c ${network.clientAddress}:5001 five`);
  assert.equal((await lines("direct", 2))[1], `c ${network.clientAddress}:5003 two`);
  assert.equal(await lines("through both", 1), [`c ${network.clientAddress}:5004 one`]);
  await exchange("begun", "two", 3, "c", 5002);
});

test("comes home, and every connection still goes on", async () => {
  await client.call("connect", "to c", site("c").address, 80, 5005);
  await exchange("to c", "one", 1, "c", 5005);
  await migrate("c", "a", 3, async () => {
    await client.call("send", "old", "six");
    await client.call("send", "direct", "three");
    await client.call("send", "to c", "two");
    await client.call("sendUdp", ["home"], site("a").address, 80);
  });
  // The datagram went by B and C; its sender must not look different from before.
  assert.equal(await client.call("datagrams", 1), [`a ${network.clientAddress}:4000 home`]);
  assert.equal((await lines("old", 6))[5], `a ${network.clientAddress}:5001 six`);
  assert.equal((await lines("direct", 3))[2], `a ${network.clientAddress}:5003 three`);
  assert.equal((await lines("to c", 2))[1], `a ${network.clientAddress}:5005 two`);
  await exchange("old", "seven", 7, "a", 5001);
  await exchange("through both", "two", 2, "a", 5004);
});

test("says how fast the relay is", async () => {
  const bytes = 100 * 1024 * 1024;
  const local = await client.call<number>("flood", site("a").address, 81, bytes);
  const cpuBefore = await site("c").supervisor.call<number>("cpuMs");
  const relayed = await client.call<number>("flood", site("c").address, 81, bytes);
  const cpuMs = (await site("c").supervisor.call<number>("cpuMs")) - cpuBefore;
  const rate = (ms: number) => `${(bytes / 1000 / ms).toFixed(0)} MB/s`;
  console.log(`direct ${rate(local)}, relayed ${rate(relayed)}, source CPU ${cpuMs.toFixed(0)} ms`);
});

test.run();

async function exchange(id: string, text: string, count: number, name: string, port: number) {
  await client.call("send", id, text);
  assert.equal(
    (await lines(id, count))[count - 1],
    `${name} ${network.clientAddress}:${port} ${text}`,
  );
}

function lines(id: string, count: number): Promise<string[]> {
  return client.call("lines", id, count);
}

function site(name: string): Site {
  const found = sites[name];
  if (found === undefined) throw new Error(`no site ${name}`);
  return found;
}

async function start(netns: string, file: string): Promise<Agent> {
  const agent = await startAgent(netns, file);
  agents.push(agent);
  return agent;
}
