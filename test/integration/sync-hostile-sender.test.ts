/** A peer that speaks rsync with options of its own choice must stay inside the tree. Needs root. */
import { execFile } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { connect, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { within } from "../../src/lib/deadline.js";
import { createTreeReceiver, type TreeReceiver } from "../../src/sync/rsync-receiver.js";
import { requires } from "../lib/requires.js";
import { suite } from "../lib/suite.js";

const test = suite("hostile sender");
const secret = "0123456789abcdef0123456789abcdef";

let directory = "";
let receiver: TreeReceiver;
let server: Server;
let sockets: Socket[] = [];

const at = (...names: string[]) => join(directory, ...names);

test.before.each(async () => {
  directory = await mkdtemp(join(tmpdir(), "ums-hostile-"));
  for (const name of ["tree", "outside", "mine"]) await mkdir(at(name));
  await writeFile(at("mine", "evil"), "evil");
  await writeFile(at("tree", "kept"), "secret data of the service");
  const tree = { name: "t", path: at("tree"), kind: "volume" as const };
  receiver = createTreeReceiver(tree, { runDirectory: directory, timeoutMs: 10_000 });
  sockets = [];
  server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.push(socket);
    // How a hostile pass ends is not of interest, what it leaves behind is.
    receiver.receive(socket).catch(() => {});
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
});

test.after.each(async () => {
  await receiver.close();
  for (const socket of sockets) socket.destroy();
  await new Promise((resolve) => server.close(resolve));
  await rm(directory, { recursive: true, force: true });
});

/** Greets as a sender does and lets the given rsync command line talk to the daemon. */
async function attack(
  args: (module: string) => string[],
  options: { password?: string; hello?: object } = {},
): Promise<{ exitCode: number; stderr: string }> {
  const { port } = server.address() as { port: number };
  const stream = connect({ port, host: "127.0.0.1", allowHalfOpen: true });
  stream.on("error", () => {});
  sockets.push(stream);
  const hello = { version: 1, tree: "t", pass: "live", secret, ...options.hello };
  stream.write(`${JSON.stringify(hello)}\n`);
  const [ready] = (await within(5_000, "the greeting", once(stream, "data"))) as [Buffer];
  stream.pause();
  stream.unshift(ready.subarray(ready.indexOf(0x0a) + 1));
  const relay = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.push(socket);
    socket.on("error", () => stream.destroy());
    stream.on("close", () => socket.destroy());
    socket.pipe(stream);
    stream.pipe(socket);
  });
  relay.listen(0, "127.0.0.1");
  await once(relay, "listening");
  const relayPort = (relay.address() as { port: number }).port;
  const argv = args(`rsync://ums@127.0.0.1:${relayPort}/tree`);
  const outcome = await new Promise<{ exitCode: number; stderr: string }>((resolve) => {
    const env = { ...process.env, RSYNC_PASSWORD: options.password ?? secret };
    execFile("rsync", argv, { env, timeout: 8_000 }, (error, _stdout, stderr) =>
      resolve({ exitCode: error === null ? 0 : Number(error.code ?? -1), stderr }),
    );
  });
  relay.close();
  stream.destroy();
  return outcome;
}

test("may write into the tree (the attacks below are real attempts)", async () => {
  const { exitCode, stderr } = await attack((module) => ["-r", `${at("mine")}/`, `${module}/`]);
  assert.is(exitCode, 0, stderr);
  assert.is(await readFile(at("tree", "evil"), "utf8"), "evil");
});

test("cannot leave through ..", async () => {
  await attack((module) => ["-r", `${at("mine")}/`, `${module}/../outside/`]);
  await attack((module) => ["-r", `${at("mine")}/`, `${module}/x/../../outside/`]);
  assert.equal(await readdir(at("outside")), []);
});

test("cannot leave through a symbolic link, absolute or relative", async () => {
  for (const target of [at("outside"), "../outside"]) {
    await rm(at("tree", "way"), { force: true });
    await symlink(target, at("tree", "way"));
    await attack((module) => ["-r", `${at("mine")}/`, `${module}/way/`]);
    await attack((module) => ["-r", "-K", `${at("mine")}/`, `${module}/way/`]);
    assert.equal(await readdir(at("outside")), []);
  }
});

test("is refused options that name other directories or files", async () => {
  for (const option of ["--temp-dir=/", "--backup-dir=/x", "--copy-dest=/", "--partial-dir=/p"]) {
    const args = option.startsWith("--backup") ? ["-r", "--backup", option] : ["-r", option];
    const { exitCode, stderr } = await attack((module) => [
      ...args,
      `${at("mine")}/`,
      `${module}/`,
    ]);
    assert.is(exitCode, 4, `${option}: ${stderr}`);
  }
  assert.not(existsSync(at("tree", "evil")));
});

test("cannot read", async () => {
  const { exitCode } = await attack((module) => ["-r", `${module}/`, `${at("mine")}/`]);
  assert.is.not(exitCode, 0);
  assert.not(existsSync(at("mine", "kept")));
});

test("needs the connection's secret", async () => {
  const args = (module: string) => ["-r", `${at("mine")}/`, `${module}/`];
  const { exitCode } = await attack(args, { password: "0".repeat(48) });
  assert.is(exitCode, 5);
  assert.not(existsSync(at("tree", "evil")));
});

test("gets no daemon for a wrong greeting", async () => {
  const greetings = [{ tree: "other" }, { version: 9 }, { pass: "x" }, { secret: "x\ny:z" }];
  for (const hello of greetings) {
    const { port } = server.address() as { port: number };
    const stream = connect(port, "127.0.0.1");
    sockets.push(stream);
    stream.write(`${JSON.stringify({ version: 1, tree: "t", pass: "live", secret, ...hello })}\n`);
    const received: Buffer[] = [];
    stream.on("data", (chunk: Buffer) => received.push(chunk));
    await within(5_000, "the end of the stream", once(stream, "close"));
    assert.is(Buffer.concat(received).length, 0, JSON.stringify(hello));
  }
  assert.equal(await readdir(at("tree")), ["kept"]);
});

if (requires("root", "rsync")) test.run();
