/**
 * Clients use their ports again: for another address of the service, while the outer containers
 * still remember the connection that had the port before.
 */
import * as assert from "uvu/assert";
import { poll } from "../../src/lib/deadline.js";
import { type Agent, inNetns, openTestNetwork, serviceAddress, startAgent } from "../lib/netns.js";
import { requires } from "../lib/requires.js";
import { suite } from "../lib/suite.js";
import type { TcpState } from "../lib/tcp-repair.js";

interface Site {
  address: string;
  supervisor: Agent;
  service: Agent;
}

if (!requires("root", "ip", "nft", "iptables", "conntrack")) process.exit(0);

const test = suite("client ports that are used again");
const network = await openTestNetwork("ums3");
const agents: Agent[] = [];
const sites = new Map<string, Site>();
/** Inlets are known by the peer: one for each other site. */
const inletIndex: Record<string, number> = { ab: 1, cb: 2, ba: 1, ca: 2, ac: 1, bc: 2 };
const opened = new Set<string>();
let client: Agent;

test.before(async () => {
  client = await start(network.client, "echo-agent.js");
  for (const name of ["a", "b", "c"]) {
    const outer = await network.addOuter(name);
    const service = await start(outer.holder, "echo-agent.js");
    const supervisor = await start(outer.name, "network-agent.js");
    await service.call("serve", name, 80, serviceAddress);
    await supervisor.call("open", outer.address, 10_000);
    const own = [7001, 7002].map((port) => ({ protocol: "tcp", port }));
    await supervisor.call("publish", own, []);
    sites.set(name, { address: outer.address, supervisor, service });
  }
});

test.after(async () => {
  for (const agent of agents) await agent.kill();
  await network.close();
});

async function migrate(from: string, to: string): Promise<void> {
  const [source, destination] = [site(from), site(to)];
  const index = inletIndex[from + to] ?? 0;
  if (!opened.has(from + to)) await destination.supervisor.call("openInlet", index, 7000 + index);
  opened.add(from + to);
  await source.supervisor.call("engage");
  const connections = await source.service.call<TcpState[]>("dump");
  const flows = await source.supervisor.call("listFlows", inletIndex[to + from]);
  await destination.supervisor.call("setFlows", index, flows);
  await destination.service.call("restore", connections);
  await destination.supervisor.call("release");
  await source.supervisor.call("relayTo", destination.address, 7000 + index);
}

test("after the service has been elsewhere, for the place where it was in between", async () => {
  await connect("one", "a", 5001);
  await exchange("one", "a");
  await migrate("a", "b");
  await exchange("one", "b");
  await hangUp("one");
  await migrate("b", "c");
  await migrate("c", "b");
  // B was told of this port's flow when the service came from A.
  await connect("one again", "c", 5001);
  await exchange("one again", "b");
});

test("for the place from where it has just come", async () => {
  await connect("two", "c", 5002);
  await exchange("two", "b");
  await migrate("b", "c");
  await migrate("c", "b");
  await hangUp("two");
  await connect("two again", "a", 5002);
  await exchange("two again", "b");
});

test("after its connection was sent on, for a place that sends to here", async () => {
  await connect("three", "a", 5003);
  await exchange("three", "b");
  await hangUp("three");
  await migrate("b", "a");
  await connect("three again", "b", 5003);
  await exchange("three again", "a");
});

test("not: a request that waits goes on as the same when the service comes home", async () => {
  await migrate("a", "b");
  await site("b").supervisor.call("closeDoor");
  await connect("four", "a", 5004);
  await migrate("b", "a");
  const line = await exchange("four", "a");
  assert.is(line, `a ${network.clientAddress}:5004 hello`);
});

test("a connection that has its way by the place it goes back to keeps that way", async () => {
  await migrate("a", "b");
  await connect("five", "a", 5005);
  await exchange("five", "b");
  await migrate("b", "c");
  await exchange("five", "c", 2);
  await migrate("c", "b");
  // The service speaks first: an answer that was under way when it was frozen.
  await site("b").service.call("push", "news");
  assert.is((await client.call<string[]>("lines", "five", 3))[2], "b news");
  await exchange("five", "b", 4);
});

test("a silent connection is still known at the second place where nobody spoke on it", async () => {
  await connect("six", "b", 5006);
  await exchange("six", "b");
  await migrate("b", "a");
  await migrate("a", "c");
  await site("c").service.call("push", "news");
  assert.is((await client.call<string[]>("lines", "six", 2))[1], "c news");
});

test.run();

async function connect(id: string, to: string, localPort: number): Promise<void> {
  await client.call("connect", id, site(to).address, 80, localPort);
}

/** The service's answer, which tells where it is. */
async function exchange(id: string, where: string, count = 0): Promise<string> {
  const before = (await client.call<string[]>("lines", id, count === 0 ? 0 : count - 1)).length;
  await client.call("send", id, "hello");
  const lines = await client.call<string[]>("lines", id, before + 1);
  assert.match(lines[before] ?? "no answer", new RegExp(`^${where} .* hello$`));
  return lines[before] ?? "";
}

/** Closes a connection and brings about what two minutes later is so: conntrack has forgotten it. */
async function hangUp(id: string): Promise<void> {
  await client.call("hangUp", id);
  await poll(`conntrack sees ${id} closed`, forgetClosed, { timeoutMs: 5_000 });
}

async function forgetClosed(): Promise<boolean> {
  const argv = ["conntrack", "-D", "-p", "tcp", "--state", "TIME_WAIT"];
  const deleted = await Promise.all(
    // Its exit code is 1 where there was none.
    ["a", "b", "c"].map((name) => inNetns(`ums3-${name}`, argv).catch(() => "")),
  );
  return deleted.some((text) => text !== "");
}

function site(name: string): Site {
  const found = sites.get(name);
  if (found === undefined) throw new Error(`no site ${name}`);
  return found;
}

async function start(netns: string, file: string): Promise<Agent> {
  const agent = await startAgent(netns, file);
  agents.push(agent);
  return agent;
}
