/** A small internet of network namespaces for tests: outer containers, their services, a client. */
import type { ChildProcess } from "node:child_process";
import { fileURLToPath } from "node:url";
import { within } from "../../src/lib/deadline.js";
import { run, start, toolEnvironment } from "../../src/lib/exec.js";

/** The nested service's constant address, its gateway, and its bridge, in every outer namespace. */
export const serviceAddress = "10.209.0.2";
const gatewayAddress = "10.209.0.1";
export const serviceBridge = "br-svc";

export interface TestNetwork {
  /** Namespace of the client; it reaches the outer ones. */
  client: string;
  clientAddress: string;
  /** An outer container: its namespace, its address, and the namespace of the service in it. */
  addOuter(name: string): Promise<{ name: string; address: string; holder: string }>;
  close(): Promise<void>;
}

/** Makes a switch with a client on it. Names begin with `prefix`; remains of earlier runs go. */
export async function openTestNetwork(prefix: string): Promise<TestNetwork> {
  const names: string[] = [];
  const subnet = "10.88.209";
  let nextHost = 1;
  const add = async (name: string): Promise<string> => {
    await run(["ip", "netns", "del", name]).catch(() => "there was none");
    await run(["ip", "netns", "add", name]);
    names.push(name);
    await inNetns(name, ["ip", "link", "set", "lo", "up"]);
    return name;
  };
  const fabric = await add(`${prefix}-net`);
  await inNetns(fabric, ["ip", "link", "add", "br0", "type", "bridge"]);
  await inNetns(fabric, ["ip", "link", "set", "br0", "up"]);
  const plug = async (name: string): Promise<string> => {
    const address = `${subnet}.${nextHost}`;
    const port = `p${nextHost}`;
    nextHost += 1;
    await veth(name, "eth0", fabric, port, `${address}/24`);
    await inNetns(fabric, ["ip", "link", "set", port, "master", "br0"]);
    return address;
  };
  const client = await add(`${prefix}-client`);
  const clientAddress = await plug(client);
  return {
    client,
    clientAddress,
    addOuter: async (name) => {
      const outer = await add(`${prefix}-${name}`);
      const address = await plug(outer);
      await inNetns(outer, ["ip", "route", "add", "default", "via", clientAddress]);
      const holder = await add(`${prefix}-${name}-svc`);
      await inNetns(outer, ["ip", "link", "add", serviceBridge, "type", "bridge"]);
      await inNetns(outer, ["ip", "addr", "add", `${gatewayAddress}/29`, "dev", serviceBridge]);
      await inNetns(outer, ["ip", "link", "set", serviceBridge, "up"]);
      await veth(holder, "eth0", outer, "veth0", `${serviceAddress}/29`);
      await inNetns(outer, ["ip", "link", "set", "veth0", "master", serviceBridge]);
      await inNetns(holder, ["ip", "route", "add", "default", "via", gatewayAddress]);
      return { name: outer, address, holder };
    },
    close: async () => {
      for (const name of names.reverse()) await run(["ip", "netns", "del", name]);
    },
  };
}

/** Runs a program in a namespace, to its end. */
export async function inNetns(name: string, argv: readonly string[]): Promise<string> {
  return (await run(["ip", "netns", "exec", name, ...argv])).stdout;
}

async function veth(inner: string, device: string, outer: string, peer: string, address: string) {
  const link = ["ip", "link", "add", device, "netns", inner, "type", "veth"];
  await run([...link, "peer", "name", peer, "netns", outer]);
  await inNetns(inner, ["ip", "addr", "add", address, "dev", device]);
  await inNetns(inner, ["ip", "link", "set", device, "up"]);
  await inNetns(outer, ["ip", "link", "set", peer, "up"]);
}

/** A Node program that runs in a namespace and answers calls, because a process has only one. */
export interface Agent {
  call<T = unknown>(method: string, ...args: unknown[]): Promise<T>;
  /** Ends it without giving it a chance to clean up. */
  kill(): Promise<void>;
}

/** Starts `dist/test/lib/FILE` in a namespace. */
export async function startAgent(netns: string, file: string): Promise<Agent> {
  const script = fileURLToPath(new URL(file, import.meta.url));
  const node = [process.execPath, "--enable-source-maps", script];
  const child = start(["ip", "netns", "exec", netns, ...node], {
    stdio: ["ignore", "inherit", "inherit", "ipc"],
    env: toolEnvironment,
  });
  const agent = new ChildAgent(child, `${file} in ${netns}`);
  await agent.call("ready");
  return agent;
}

interface Reply {
  id: number;
  result?: unknown;
  error?: string;
}

class ChildAgent implements Agent {
  readonly #child: ChildProcess;
  readonly #what: string;
  readonly #waiting = new Map<number, (reply: Reply) => void>();
  #nextId = 1;

  constructor(child: ChildProcess, what: string) {
    this.#child = child;
    this.#what = what;
    child.on("message", (reply: Reply) => this.#waiting.get(reply.id)?.(reply));
  }

  async call<T>(method: string, ...args: unknown[]): Promise<T> {
    const id = this.#nextId++;
    const answer = new Promise<Reply>((resolve) => this.#waiting.set(id, resolve));
    this.#child.send({ id, method, args });
    const reply = await within(20_000, `${method} of ${this.#what}`, answer);
    this.#waiting.delete(id);
    if (reply.error !== undefined) throw new Error(`${method} of ${this.#what}: ${reply.error}`);
    return reply.result as T;
  }

  async kill(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const exit = new Promise((resolve) => this.#child.once("exit", resolve));
    this.#child.kill("SIGKILL");
    await within(5_000, `end of ${this.#what}`, exit);
  }
}

/** The other side of {@link Agent}: answers calls with these methods. */
export function serveAgent(methods: Record<string, (...args: never[]) => unknown>): void {
  process.on("message", (message: { id: number; method: string; args: never[] }) => {
    const { id, method, args } = message;
    const work = async () => (method === "ready" ? true : methods[method]?.(...args));
    work().then(
      (result) => process.send?.({ id, result }),
      (error: unknown) => process.send?.({ id, error: String((error as Error).stack) }),
    );
  });
  process.on("disconnect", () => process.kill(process.pid, "SIGKILL"));
}
