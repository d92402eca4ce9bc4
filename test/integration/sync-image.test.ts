/** Filtered image archives into a real engine. Needs a running dockerd. */
import { execFileSync, spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough, Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import * as assert from "uvu/assert";
import { UmsError } from "../../src/errors.js";
import { within } from "../../src/lib/deadline.js";
import { presentLayers, receiveImage, sendImage } from "../../src/sync/image-layers.js";
import { requires } from "../lib/requires.js";
import { suite } from "../lib/suite.js";

const prefix = `ums-test-image-${process.pid}`;
const base = `${prefix}-base`;
const full = `${prefix}-full`;
const layerBytes = 1_000_000;

function docker(...args: string[]): string {
  return execFileSync("docker", args, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
}

function layersOf(image: string): string[] {
  return JSON.parse(docker("inspect", "--format", "{{json .RootFS.Layers}}", image)) as string[];
}

const openArchive = (image: string) => async (): Promise<Readable> =>
  spawn("docker", ["save", image], { stdio: ["ignore", "pipe", "inherit"] }).stdout;

const store = {
  async load(archive: Readable): Promise<void> {
    const child = spawn("docker", ["load"], { stdio: ["pipe", "ignore", "pipe"] });
    let stderr = "";
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      stderr += text;
    });
    const exit = new Promise<number | null>((resolve) => child.once("close", resolve));
    await pipeline(archive, child.stdin);
    if ((await exit) !== 0) throw new Error(stderr.trim());
  },
  async hasImage(id: string): Promise<boolean> {
    return docker("images", "--quiet", "--no-trunc").split("\n").includes(id);
  },
};

/** `base` has the layers a, b; `full` has a, b, a, c: one file serves two places of the chain. */
async function buildImages(): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), "ums-image-"));
  const script = `for x in a b c; do mkdir $x; head -c ${layerBytes} /dev/urandom > $x/$x
    tar -C $x -cf $x.tar .; done`;
  execFileSync("sh", ["-euc", script], { cwd: directory });
  const write = (layers: string[]) =>
    execFileSync("sh", ["-c", "cat > Dockerfile"], {
      cwd: directory,
      input: ["FROM scratch", ...layers.map((layer) => `ADD ${layer}.tar /`)].join("\n"),
    });
  for (const [image, layers] of [
    [base, ["a", "b"]],
    [full, ["a", "b", "a", "c"]],
  ] as const) {
    write([...layers]);
    docker("build", "-q", "-t", image, directory);
  }
  await rm(directory, { recursive: true });
}

const test = suite("image layers");

test.before(buildImages);
test.after(() => {
  docker("rmi", "-f", base, full);
});

/** Sends `full` as if the destination had the first layers, through a stream that may be cut. */
async function move(presentCount: number, expectedId: string, cutAtBytes?: number) {
  const stream = new PassThrough();
  let passed = 0;
  if (cutAtBytes !== undefined) {
    stream.on("data", (chunk: Buffer) => {
      passed += chunk.length;
      if (passed > cutAtBytes) stream.destroy();
    });
  }
  const sending = sendImage(stream, { openArchive: openArchive(full), layers, presentCount });
  const receiving = receiveImage(stream, expectedId, store);
  const [sent, received] = await within(
    60_000,
    "moving an image",
    Promise.allSettled([sending, receiving]),
  );
  return { sent, received };
}

let layers: string[] = [];

test("leaves out what the destination has, and loads", async () => {
  layers = layersOf(full);
  const id = docker("inspect", "--format", "{{.Id}}", full).trim();
  for (const hasBase of [true, false]) {
    if (!hasBase) docker("rmi", base);
    const presentCount = hasBase ? presentLayers(layers, [layersOf(base)]) : 0;
    assert.is(presentCount, hasBase ? 2 : 0);
    // The archive is complete before the image goes away, as if it came from elsewhere.
    const kept = await readAll(await openArchive(full)());
    docker("rmi", full);
    const stream = new PassThrough();
    const [sent] = await Promise.all([
      sendImage(stream, {
        openArchive: async () => Readable.from([kept]),
        layers,
        presentCount,
      }),
      receiveImage(stream, id, store),
    ]);
    // With the base, a is still needed (third place) and c; b is not.
    const expected = (hasBase ? 2 : 3) * layerBytes;
    assert.ok(
      sent.bytesSent > expected && sent.bytesSent < expected + 100_000,
      `${sent.bytesSent}`,
    );
    assert.equal(layersOf(full), layers);
  }
});

async function readAll(stream: Readable): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks);
}

test("refuses an image that is not the expected one", async () => {
  const { received } = await move(0, `sha256:${"0".repeat(64)}`);
  assert.is(codeOf(received), "ERR_MANIFEST_MISMATCH");
});

test("reports an archive cut short", async () => {
  const { received } = await move(0, `sha256:${"0".repeat(64)}`, 1_500_000);
  assert.is(codeOf(received), "ERR_TRANSFER_SHORT");
});

function codeOf(outcome: PromiseSettledResult<unknown>): string {
  if (outcome.status === "fulfilled") return "none";
  return outcome.reason instanceof UmsError ? outcome.reason.code : String(outcome.reason);
}

if (requires("docker")) test.run();
