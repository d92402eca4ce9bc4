/** nginx moves while a client downloads a large file, to a destination that has some of its layers. */
import { createCipheriv, createHash } from "node:crypto";
import { get, type IncomingMessage } from "node:http";
import * as assert from "uvu/assert";
import { poll, sleep, within } from "../../src/lib/deadline.js";
import { run } from "../../src/lib/exec.js";
import { type OuterContainer, type OuterLab, openOuterLab } from "../lib/outer.js";
import { outerWithFixture } from "../lib/outer-image.js";
import { requires } from "../lib/requires.js";
import { suite } from "../lib/suite.js";

const port = 80;
const mib = 1024 ** 2;
const fileMib = 96;
/** The image's own share above the base that the destination has, and the checkpoint. */
const overheadMib = 50;
/** Between two chunks while the service is moved, so that the download outlasts it. */
const slowChunkMs = 5;

const test = suite("migration of nginx during a download");
let lab: OuterLab;
let source: OuterContainer;
let destination: OuterContainer;

test.before(async () => {
  lab = await openOuterLab("ums-test-nginx");
  const image = await outerWithFixture("nginx");
  const env = { FILE_MIB: String(fileMib) };
  [source, destination] = await Promise.all([
    lab.start("a", { image, env, ports: [port] }),
    lab.start("b"),
  ]);
  const load = `docker save ums/base:trixie | docker exec -i ${destination.name} docker load`;
  await run(["sh", "-c", load], { timeoutMs: 120_000 });
  const isServing = () =>
    fetch(url("/health"), { signal: AbortSignal.timeout(2_000) }).then(
      ({ ok }) => ok,
      () => false,
    );
  await poll("nginx serves", isServing, { timeoutMs: 60_000, intervalMs: 200 });
});

test.after(async () => {
  await lab?.close();
});

test("goes on with the download, byte for byte, and sends only what is missing", async () => {
  const response = await open("/large");
  let isMoving = true;
  const downloading = digest(response, () => isMoving);
  downloading.catch(() => undefined);
  const { bytesSent } = await source.move(destination).finally(() => {
    isMoving = false;
  });
  assert.not.ok(response.complete, "the download ended before the move");
  const { sha256, bytes } = await within(120_000, "the download", downloading);
  assert.is(bytes, fileMib * mib);
  assert.is(sha256, expectedDigest());
  assert.ok(bytesSent < (fileMib + overheadMib) * mib, `${bytesSent} bytes sent`);
});

test("serves new downloads from the destination", async () => {
  for (const path of [url("/large"), `http://${destination.ip}:${port}/large`]) {
    const body = await (await fetch(path, { signal: AbortSignal.timeout(60_000) })).arrayBuffer();
    const sha256 = createHash("sha256").update(Buffer.from(body)).digest("hex");
    assert.is(sha256, expectedDigest(), path);
  }
});

function url(path: string): string {
  const { host, port: hostPort } = source.port(port);
  return `http://${host}:${hostPort}${path}`;
}

function open(path: string): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    get(url(path), resolve).once("error", reject);
  });
}

async function digest(response: IncomingMessage, isSlow: () => boolean) {
  const hash = createHash("sha256");
  let bytes = 0;
  for await (const chunk of response) {
    hash.update(chunk as Buffer);
    bytes += (chunk as Buffer).length;
    if (isSlow()) await sleep(slowChunkMs);
  }
  return { sha256: hash.digest("hex"), bytes };
}

/** The fixture's own pseudo-random bytes (images/fixtures/nginx/start). */
function expectedDigest(): string {
  const key = Buffer.from("000102030405060708090a0b0c0d0e0f", "hex");
  const cipher = createCipheriv("aes-128-ctr", key, Buffer.alloc(16));
  const hash = createHash("sha256");
  for (let index = 0; index < fileMib; index += 1) hash.update(cipher.update(Buffer.alloc(mib)));
  return hash.digest("hex");
}

if (requires("root", "docker")) test.run();
