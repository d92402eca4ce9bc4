/**
 * A source that is authenticated and hostile: what it sends is whole and verified, but asks for more
 * than the destination's container grants. And a checkpoint that is damaged behind the verification.
 */
import * as assert from "uvu/assert";
import { type ReadableKind, readImage } from "../../src/criu/images.js";
import { type Fields, readFields } from "../../src/criu/protobuf.js";
import { poll } from "../../src/lib/deadline.js";
import { type Watch, watchCounter } from "../lib/counter-watch.js";
import { changed, image, type Message } from "../lib/criu-images.js";
import { askOnce } from "../lib/line-client.js";
import { type Migrated, type OuterContainer, type OuterLab, openOuterLab } from "../lib/outer.js";
import { outerWithFixture } from "../lib/outer-image.js";
import { requires } from "../lib/requires.js";
import { suite } from "../lib/suite.js";

const port = 7000;
const counterMib = 16;
const faults = "/run/ums/faults";
const sent = "/run/ums/send/dump/images";
/** CAP_SYS_ADMIN. */
const sysAdmin = 0x200000;
/** Spinning for ever is noticed so soon that the source's budget of 30 s is not used up. */
const watchdogBoundMs = 20_000;

const test = suite("a hostile source, a damaged checkpoint");
let lab: OuterLab;
let source: OuterContainer;
let destination: OuterContainer;
let watch: Watch;

test.before(async () => {
  lab = await openOuterLab("ums-test-hostile");
  const image = await outerWithFixture("programs");
  const env = { UMS_TEST_FAULTS: faults };
  [source, destination] = await Promise.all([
    lab.start("a", { image, env, args: ["counter", String(counterMib)], ports: [port] }),
    lab.start("b", { env }),
  ]);
  for (const outer of [source, destination]) await must(outer, "mkdir", "-p", faults);
  watch = await watchCounter(source.port(port));
});

test.after(async () => {
  await watch?.stop();
  await lab?.close();
});

test("that gives the service a capability is refused", () =>
  refused(/SYS_ADMIN/, () =>
    alter("core", "core-1.img", ([core]) => [
      changed(core ?? [], {
        5: changed(nested(core, 5), { 10: changed(nested(nested(core, 5), 10), { 11: sysAdmin }) }),
      }),
    ]),
  ));

test("that adds a mount is refused", () =>
  refused(/mount is not the container's own, at \/mnt/, () =>
    alter("mountpoints", "mountpoints-*.img", (mounts) => [
      ...mounts,
      changed(mounts[0] ?? [], { 2: 9999, 7: "/mnt", 18: "/etc/hosts" }),
    ]),
  ));

test("that switches seccomp off is refused", () =>
  refused(/without the seccomp filter/, () =>
    alter("core", "core-1.img", ([core]) => [
      changed(core ?? [], { 5: changed(nested(core, 5), { 11: undefined, 12: undefined }) }),
    ]),
  ));

test("that adds an image of another kind is refused", () =>
  refused(/kind that no service's own dump has: iptables-10\.img/, () =>
    must(source, "sh", "-c", `echo '*filter' >${sent}/iptables-10.img`),
  ));

test("that would run it in the outer container's mounts is refused", () =>
  refused(/outer container's mount namespace/, () =>
    alter("ids", "ids-1.img", ([ids]) => [changed(ids ?? [], { 9: 6 })]),
  ));

test("pages cut off behind the verification end in the watchdog", async () => {
  let releasedMs = 0;
  const done = await damaged("truncate -s 65536", () => {
    releasedMs = performance.now();
  });
  const tookMs = performance.now() - releasedMs;
  assert.is(done.code, "ERR_CRIU_RESTORE_FAILED", `${done.stdout}${done.stderr}`);
  assert.match(done.result?.failure?.message ?? "", /logged without end/);
  assert.ok(tookMs < watchdogBoundMs, `it took ${tookMs} ms`);
  assert.is((await destination.exec("pgrep", "-x", "criu")).stdout, "");
  await expectUntouched();
});

test("a byte changed behind the verification is restored by CRIU without a word", async () => {
  const byte = "printf 'X' | dd bs=1 seek=8388608 conv=notrunc status=none of=";
  const done = await damaged(byte);
  assert.is(done.result?.outcome, "moved", done.stderr);
  assert.not.match(await askOnce(source.port(port), "check"), /^ok /);
});

/** Migrates, changes the images between the dump and the sending, and expects the refusal. */
async function refused(reason: RegExp, change: () => Promise<unknown>): Promise<void> {
  const done = await migrateChanged(source, "source.do.send", change);
  assert.is(done.code, "ERR_CHECKPOINT_UNSAFE", `${done.stdout}${done.stderr}`);
  assert.match(done.result?.failure?.message ?? "", reason);
  await expectUntouched();
}

/** Migrates, and damages the destination's pages before CRIU reads them. */
function damaged(command: string, onDamaged = () => {}): Promise<Migrated> {
  const pages = "$(ls -S /run/ums/restore/*/images/pages-*.img | head -n 1)";
  const separator = command.endsWith("=") ? "" : " ";
  return migrateChanged(destination, "destination.do.restore", async () => {
    await must(destination, "sh", "-c", `${command}${separator}${pages}`);
    onDamaged();
  });
}

async function migrateChanged(
  at: OuterContainer,
  point: string,
  change: () => Promise<unknown>,
): Promise<Migrated> {
  await must(at, "sh", "-c", `echo pause >${faults}/${point}`);
  const running = source.migrate(destination, "--downtime-budget", "60000");
  const isReached = async () =>
    (await at.exec("test", "-e", `${faults}/${point}.reached`)).exitCode === 0;
  await poll(`the migration is at ${point}`, isReached, { timeoutMs: 90_000 });
  await change();
  await must(at, "rm", `${faults}/${point}.reached`);
  return running;
}

/** The service has lost no request, and nothing of it is left over at the destination. */
async function expectUntouched(): Promise<void> {
  const before = watch.answered;
  await poll("the service answers", () => watch.answered > before, { timeoutMs: 10_000 });
  assert.match(await askOnce(source.port(port), "check"), /^ok /);
  const isEmpty = async () => {
    const left = await destination.exec("sh", "-c", "ls /run/ums/restore /run/ums/criu");
    const containers = await destination.exec(
      "docker",
      "ps",
      "-aq",
      "--filter",
      "name=ums-service",
    );
    return containers.stdout === "" && !/[0-9a-f]{64}/.test(left.stdout);
  };
  await poll("nothing is left over", isEmpty, { timeoutMs: 20_000 });
}

/** Rewrites one image of the dump. */
async function alter(
  kind: ReadableKind,
  pattern: string,
  change: (entries: Message[]) => Message[],
): Promise<void> {
  const { stdout } = await source.exec("sh", "-c", `base64 -w0 ${sent}/${pattern}`);
  const entries = readImage(kind, Buffer.from(stdout, "base64")).map(messageOf);
  const encoded = image(kind, ...change(entries)).toString("base64");
  await must(source, "sh", "-c", `echo ${encoded} | base64 -d >$(ls ${sent}/${pattern})`);
}

function messageOf(fields: Fields): Message {
  return [...fields].flatMap(([number, values]) =>
    values.map((value): Message[number] => [number, value]),
  );
}

function nested(message: Message | undefined, number: number): Message {
  const value = message?.find(([candidate]) => candidate === number)?.[1];
  if (Array.isArray(value)) return value;
  if (!Buffer.isBuffer(value)) throw new TypeError(`no message ${number}`);
  return messageOf(readFields(value));
}

async function must(outer: OuterContainer, ...argv: string[]): Promise<void> {
  const { exitCode, stderr } = await outer.exec(...argv);
  if (exitCode !== 0) throw new Error(`${argv.join(" ")}: ${stderr}`);
}

if (requires("root", "docker")) test.run();
