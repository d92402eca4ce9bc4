/** Ending the relay of a service that has left, while clients still use its old address. */
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import * as assert from "uvu/assert";
import { poll, within } from "../../src/lib/deadline.js";
import { askOnce, openLineClient, whenAnswering } from "../lib/line-client.js";
import { type OuterContainer, type OuterLab, openOuterLab } from "../lib/outer.js";
import { outerWithFixture } from "../lib/outer-image.js";
import { requires } from "../lib/requires.js";
import { suite } from "../lib/suite.js";

const port = 7000;

const test = suite("the end of a relay");
let lab: OuterLab;
let source: OuterContainer;
let destination: OuterContainer;

test.before(async () => {
  lab = await openOuterLab("ums-test-drain");
  const image = await outerWithFixture("programs");
  [source, destination] = await Promise.all([
    lab.start("a", { image, args: ["counter", "1"], ports: [port] }),
    lab.start("b"),
  ]);
});

test.after(async () => {
  await lab?.close();
});

test("is refused where no service has left", async () => {
  const { exitCode, stderr } = await source.ums("drain");
  assert.is(exitCode, 66);
  assert.match(stderr, /ERR_SERVICE_NOT_FOUND/);
});

test("refuses new connections at the old address, keeps those that exist, then ends", async () => {
  const old = source.port(port);
  const client = await whenAnswering(old);
  const before = Number(await client.ask("next"));
  await source.move(destination);
  assert.is(Number(await askOnce(old, "next")), before + 1, "the relay takes new connections");
  const { stdout, exitCode } = await source.ums("drain");
  assert.is(exitCode, 0, stdout);
  assert.is(await connectError(old), "ECONNREFUSED");
  assert.is(Number(await client.ask("next")), before + 2, "the old connection goes on");
  await killSupervisor(source);
  assert.is(Number(await client.ask("next")), before + 3, "and after a crash of the supervisor");
  assert.is(await connectError(old), "ECONNREFUSED");
  client.close();
  await isDrained(source);
  assert.is(Number(await askOnce({ host: destination.ip, port }, "next")), before + 4);
});

test("resets idle connections at once where that is asked for", async () => {
  await destination.move(source);
  const place = { host: destination.ip, port };
  assert.match(await askOnce(source.port(port), "next"), /^\d+$/, "home again, and open");
  await source.move(destination);
  await destination.move(source);
  const idle = await openIdle(place);
  const closed = new Promise((resolve) => idle.once("close", resolve));
  const { stdout, stderr } = await destination.ums("drain", "--reset");
  assert.match(stdout, /[1-9]\d* reset/, stderr);
  await within(5_000, "the reset of an idle connection", closed);
  assert.is(idle.errored && (idle.errored as NodeJS.ErrnoException).code, "ECONNRESET");
  await isDrained(destination);
  const client = await openLineClient(source.port(port));
  assert.match(await client.ask("next"), /^\d+$/);
  client.close();
});

/** By its own word, and by the kernel's set: nothing for the service passes any more. */
async function isDrained(outer: OuterContainer): Promise<void> {
  const drained = () => outer.exec("nft", "list", "set", "ip", "ums", "drained");
  const phase = async () => JSON.parse((await outer.ums("status", "--output", "json")).stdout);
  await poll("the drain", async () => (await phase()).relayPhase === "drained", {
    timeoutMs: 30_000,
    intervalMs: 500,
  });
  await poll("the end of the relay", async () => /elements/.test((await drained()).stdout), {
    timeoutMs: 30_000,
    intervalMs: 200,
  });
}

/** A connection on which nothing is said; resolves when the service has accepted it. */
async function openIdle(address: { host: string; port: number }): Promise<Socket> {
  const socket = connect(address);
  await within(10_000, "a connection", once(socket, "connect"));
  socket.on("error", () => {
    // Looked at by the test, in `errored`.
  });
  socket.resume();
  socket.write("check\n");
  await within(10_000, "an answer", once(socket, "data"));
  return socket;
}

async function connectError(address: { host: string; port: number }): Promise<string | undefined> {
  const socket = connect(address);
  try {
    await within(10_000, "a connection", once(socket, "connect"));
    return undefined;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code;
  } finally {
    socket.destroy();
  }
}

/** Resolves when the next one answers. */
async function killSupervisor(outer: OuterContainer): Promise<void> {
  const { exitCode } = await outer.exec("pkill", "-KILL", "-f", "main.js supervise");
  assert.is(exitCode, 0);
  const isBack = async () => (await outer.ums("status")).exitCode === 0;
  await poll("the next supervisor", isBack, { timeoutMs: 60_000, intervalMs: 500 });
}

if (requires("root", "docker")) test.run();
