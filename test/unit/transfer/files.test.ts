import { createHash } from "node:crypto";
import { PassThrough, Writable } from "node:stream";
import * as assert from "uvu/assert";
import { UmsError } from "../../../src/errors.js";
import { digestBytes, maxChunkBytes, recordTypes } from "../../../src/transfer/chunks.js";
import { type ReceiveFilesOptions, receiveFiles, sendFiles } from "../../../src/transfer/files.js";
import type { Manifest } from "../../../src/transfer/manifest.js";
import { rejectsWith } from "../../lib/errors.js";
import { type Collector, collector, streamOf } from "../../lib/streams.js";
import { suite } from "../../lib/suite.js";

const test = suite("verified files");

const contents: Record<string, Buffer[]> = {
  "core-1.img": [Buffer.from("first "), Buffer.from("second "), Buffer.from("third")],
  "empty.img": [],
  "pages-1.img": [Buffer.from("pages")],
};

async function send(files: Record<string, Buffer[]>): Promise<{ wire: Buffer; sent: Manifest }> {
  const { stream, bytes } = collector();
  const outgoing = Object.entries(files).map(([name, parts]) => ({
    name,
    readable: streamOf(...parts),
  }));
  const sent = await sendFiles(stream, outgoing);
  return { wire: bytes(), sent };
}

interface Received {
  manifest: Promise<Manifest>;
  files: Map<string, Collector>;
}

function receive(wire: Buffer, options: Partial<ReceiveFilesOptions> = {}): Received {
  const files = new Map<string, Collector>();
  const manifest = receiveFiles(streamOf(wire), {
    openFile(name) {
      const file = collector();
      files.set(name, file);
      return file.stream;
    },
    maxBytes: 100_000_000,
    ...options,
  });
  return { manifest, files };
}

/** Cuts a wire image into its records. */
function records(wire: Buffer): Buffer[] {
  const result: Buffer[] = [];
  for (let offset = 0; offset < wire.length; ) {
    const length = 5 + wire.readUInt32BE(offset + 1) + digestBytes;
    result.push(wire.subarray(offset, offset + length));
    offset += length;
  }
  return result;
}

test("what is sent is what is received", async () => {
  const { wire, sent } = await send(contents);
  const { manifest, files } = receive(wire);
  assert.equal(await manifest, sent);
  for (const [name, parts] of Object.entries(contents)) {
    assert.equal(files.get(name)?.bytes(), Buffer.concat(parts));
    const sha256 = createHash("sha256").update(Buffer.concat(parts)).digest("hex");
    assert.is(sent.files.find((file) => file.name === name)?.digest, sha256);
  }
});

test("large reads are cut into chunks", async () => {
  const large = Buffer.alloc(2 * maxChunkBytes + 1, 7);
  const { wire, sent } = await send({ large: [large] });
  const chunks = records(wire).filter((record) => record[0] === recordTypes.chunk);
  assert.is(chunks.length, 3);
  const { manifest, files } = receive(wire);
  assert.equal(await manifest, sent);
  assert.ok(files.get("large")?.bytes().equals(large));
});

test("a stream cut anywhere is short, and no unverified file is ended", async () => {
  const { wire } = await send(contents);
  for (let length = 0; length < wire.length; length += 1) {
    const { manifest, files } = receive(wire.subarray(0, length));
    await rejectsWith("ERR_TRANSFER_SHORT", manifest);
    for (const { stream } of files.values()) assert.ok(stream.destroyed || stream.writableEnded);
  }
});

test("a flipped bit anywhere is found, and no wrong byte is written", async () => {
  const { wire } = await send(contents);
  for (let offset = 0; offset < wire.length; offset += 1) {
    const altered = Buffer.from(wire);
    altered[offset] = (altered[offset] ?? 0) ^ (1 << (offset % 8));
    const { manifest, files } = receive(altered);
    const failure = await manifest.then(
      () => assert.unreachable(`offset ${offset} was accepted`),
      (error) => error,
    );
    assert.ok(["ERR_FRAME_INVALID", "ERR_TRANSFER_SHORT"].includes(failure.code), failure.message);
    for (const [name, file] of files) {
      const right = Buffer.concat(contents[name] ?? [Buffer.from("no such file")]);
      assert.equal(file.bytes(), right.subarray(0, file.bytes().length));
    }
  }
});

test("records dropped, repeated or exchanged are found", async () => {
  const { wire } = await send(contents);
  const all = records(wire);
  const integrity = ["ERR_FRAME_INVALID", "ERR_TRANSFER_SHORT", "ERR_MANIFEST_MISMATCH"];
  const tryOrder = async (order: Buffer[], what: string) => {
    const outcome = await receive(Buffer.concat(order)).manifest.then(
      () => "accepted",
      (error: UmsError) => error.code,
    );
    assert.ok(integrity.includes(outcome), `${what}: ${outcome}`);
  };
  for (let i = 0; i < all.length; i += 1) {
    await tryOrder([...all.slice(0, i), ...all.slice(i + 1)], `dropped ${i}`);
    // What follows the last record is not the transfer's any more.
    if (i < all.length - 1) {
      await tryOrder([...all.slice(0, i + 1), ...all.slice(i)], `repeated ${i}`);
    }
    for (let j = i + 1; j < all.length; j += 1) {
      const order = [...all];
      [order[i], order[j]] = [all[j] as Buffer, all[i] as Buffer];
      await tryOrder(order, `exchanged ${i} and ${j}`);
    }
  }
});

test("a whole file left out is found by the manifest", async () => {
  const all = records((await send(contents)).wire);
  const second = all.findIndex((record, i) => i > 0 && record[0] === recordTypes.file);
  const { manifest } = receive(Buffer.concat(all.slice(second)));
  await rejectsWith("ERR_MANIFEST_MISMATCH", manifest);
});

test("limits on files and bytes hold", async () => {
  const { wire } = await send(contents);
  await rejectsWith("ERR_NO_ROOM", receive(wire, { maxFiles: 2 }).manifest);
  await rejectsWith("ERR_NO_ROOM", receive(wire, { maxBytes: 22 }).manifest);
  let progress = 0;
  await receive(wire, { maxFiles: 3, maxBytes: 23, onProgress: (n) => (progress = n) }).manifest;
  assert.is(progress, 23);
});

test("the receiver decides about names, and its refusal ends the transfer", async () => {
  const { wire } = await send({ "../../etc/passwd": [Buffer.from("x")] });
  const { manifest } = receive(wire, {
    openFile(name) {
      throw new UmsError("ERR_SYNC_FAILED", `unexpected file ${name}`);
    },
  });
  await rejectsWith("ERR_SYNC_FAILED", manifest);
});

test("a full disk is reported as such", async () => {
  const { wire } = await send(contents);
  const full = Object.assign(new Error("no space left on device"), { code: "ENOSPC" });
  const { manifest } = receive(wire, {
    openFile: () => new Writable({ write: (_chunk, _encoding, done) => done(full) }),
  });
  await rejectsWith("ERR_NO_ROOM", manifest);
});

test("a file that cannot be read, or sent, fails the sender and destroys the stream", async () => {
  const broken = new PassThrough();
  broken.destroy(new Error("bad sector"));
  const { stream } = collector();
  await rejectsWith("ERR_INTERNAL", sendFiles(stream, [{ name: "a", readable: broken }]));
  assert.ok(stream.destroyed);
  const closed = collector().stream;
  closed.destroy();
  await rejectsWith("ERR_TRANSFER_SHORT", sendFiles(closed, []));
});

test("a receiver or sender that stalls is given up", async () => {
  const stuck = new Writable({ highWaterMark: 1, write: () => undefined });
  await rejectsWith("ERR_DEADLINE", sendFiles(stuck, [], { stallTimeoutMs: 20 }));
  const silent = new PassThrough();
  const receiving = receiveFiles(silent, {
    openFile: () => collector().stream,
    maxBytes: 1,
    stallTimeoutMs: 20,
  });
  await rejectsWith("ERR_DEADLINE", receiving);
  assert.ok(silent.destroyed);
});

test.run();
