import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import type { Duplex } from "node:stream";
import * as assert from "uvu/assert";
import { pageLimit } from "../../src/checkpoint/receive.js";
import { UmsError } from "../../src/errors.js";
import { poll, within } from "../../src/lib/deadline.js";
import { readBytes } from "../../src/transfer/bytes.js";
import { receiveFiles, sendFiles } from "../../src/transfer/files.js";
import type { StreamHeader } from "../../src/transfer/frame.js";
import type { Manifest } from "../../src/transfer/manifest.js";
import { relayFromDump, relayToPageServer } from "../../src/transfer/relay.js";
import { listen, wait, withServer } from "../lib/data-channel.js";
import { rejectsWith, throwsWith } from "../lib/errors.js";
import { collector, streamOf } from "../lib/streams.js";
import { suite } from "../lib/suite.js";

const test = suite("transfers over the data channel");

test("files arrive over TLS as they were sent", async () => {
  const files = new Map<string, ReturnType<typeof collector>>();
  const received: Promise<Manifest>[] = [];
  const onStream = (_header: StreamHeader, stream: Duplex) => {
    const openFile = (name: string) => {
      const file = collector();
      files.set(name, file);
      return file.stream;
    };
    received.push(receiveFiles(stream, { openFile, maxBytes: 10_000_000 }));
  };
  await withServer({ onStream }, async ({ open }) => {
    const large = randomBytes(3_000_000);
    const stream = await open();
    const sent = await sendFiles(stream, [
      { name: "large", readable: streamOf(large) },
      { name: "empty", readable: streamOf() },
    ]);
    assert.equal(await received[0], sent);
    assert.ok(files.get("large")?.bytes().equals(large));
  });
});

test("a sender that vanishes in the middle is noticed by the receiver", async () => {
  let outcome: Promise<unknown> = Promise.resolve();
  const onStream = (_header: StreamHeader, stream: Duplex) => {
    const openFile = () => collector().stream;
    outcome = receiveFiles(stream, { openFile, maxBytes: 10_000_000 }).catch((error) => error);
  };
  await withServer({ onStream }, async ({ open }) => {
    const stream = await open();
    const endless = async function* () {
      yield { name: "a", readable: streamOf(randomBytes(10_000)) };
      throw new Error("dump failed");
    };
    await rejectsWith("ERR_INTERNAL", sendFiles(stream, endless()));
    const error = await within(5_000, "the receiver", outcome);
    assert.ok(["ERR_TRANSFER_SHORT", "ERR_PEER_UNREACHABLE"].includes((error as UmsError).code));
  });
});

test("a page stream passes both relays, its answer comes back, and both count the same", async () => {
  const pages = randomBytes(5_000_000);
  // Stands in for CRIU's page server: takes all pages until the flush, then answers 4 bytes.
  const pageServer = createServer({ allowHalfOpen: true }, async (socket) => {
    const got = await readBytes(socket, pages.length, wait);
    const answer = createHash("sha256").update(got).digest().subarray(0, 4);
    socket.end(answer);
  });
  const pageServerPort = await listen(pageServer);
  let destination: Promise<unknown> = Promise.resolve();
  const onStream = (_header: StreamHeader, stream: Duplex) => {
    const local = connect({ port: pageServerPort, host: "127.0.0.1", allowHalfOpen: true });
    destination = relayToPageServer(stream, local);
  };
  await withServer({ onStream }, async ({ open }) => {
    const channel = await open();
    const relay = createServer({ allowHalfOpen: true });
    const port = await listen(relay);
    const dump = connect(port, "127.0.0.1");
    const [local] = (await once(relay, "connection")) as [Socket];
    const source = relayFromDump(local, channel);
    dump.write(pages);
    const answer = await readBytes(dump, 4, wait);
    dump.end();
    const sha256 = createHash("sha256").update(pages).digest("hex");
    assert.is(answer.toString("hex"), sha256.slice(0, 8));
    const sent = await within(5_000, "source", source);
    assert.is(sent.bytes, pages.length);
    assert.equal(await within(5_000, "destination", destination), sent);
    relay.close();
  });
  pageServer.close();
});

test("more memory than was granted does not get through", async () => {
  const grantedBytes = 1_000_000;
  let takenBytes = 0;
  const pageServer = createServer({ allowHalfOpen: true }, (socket) =>
    socket
      .on("error", () => undefined)
      .on("data", ({ length }) => {
        takenBytes += length;
      }),
  );
  const pageServerPort = await listen(pageServer);
  let destination: Promise<unknown> = Promise.resolve();
  const onStream = (_header: StreamHeader, stream: Duplex) => {
    const local = connect({ port: pageServerPort, host: "127.0.0.1", allowHalfOpen: true });
    const onProgress = pageLimit(grantedBytes);
    destination = relayToPageServer(stream, local, { onProgress }).catch((error) => error);
  };
  await withServer({ onStream }, async ({ open }) => {
    const channel = await open();
    const relay = createServer({ allowHalfOpen: true });
    const port = await listen(relay);
    const dump = connect(port, "127.0.0.1").on("error", () => undefined);
    const [local] = (await once(relay, "connection")) as [Socket];
    const source = relayFromDump(local, channel).catch((error) => error);
    dump.write(randomBytes(20_000_000));
    const refused = (await within(5_000, "destination", destination)) as UmsError;
    assert.is(refused.code, "ERR_NO_ROOM", refused.message);
    assert.instance(await within(5_000, "source", source), UmsError);
    assert.ok(takenBytes < 2 * grantedBytes, `${takenBytes} bytes reached the page server`);
    dump.destroy();
    relay.close();
  });
  pageServer.close();
});

test("as much memory as was granted does", () => {
  const check = pageLimit(1_000_000);
  // CRIU's own messages between the pages come on top.
  check(1_010_000);
  throwsWith("ERR_NO_ROOM", () => check(1_020_000));
  pageLimit(undefined)(Number.MAX_SAFE_INTEGER);
});

test("a dump that dies breaks the relay on both sides", async () => {
  let destination: Promise<unknown> = Promise.resolve();
  const pageServer = createServer({ allowHalfOpen: true }, (socket) => socket.resume());
  const pageServerPort = await listen(pageServer);
  const onStream = (_header: StreamHeader, stream: Duplex) => {
    const local = connect({ port: pageServerPort, host: "127.0.0.1", allowHalfOpen: true });
    destination = relayToPageServer(stream, local).catch((error) => error);
  };
  await withServer({ onStream }, async ({ open }) => {
    const channel = await open();
    const relay = createServer({ allowHalfOpen: true });
    const port = await listen(relay);
    const dump = connect(port, "127.0.0.1");
    const [local] = (await once(relay, "connection")) as [Socket];
    let seen = 0;
    const onProgress = (bytes: number) => {
      seen = bytes;
    };
    const source = relayFromDump(local, channel, { onProgress });
    dump.write(randomBytes(1_000));
    // Sent together with data, a reset is read as a normal end (measured).
    await poll("the bytes to arrive", () => seen >= 1_000, { timeoutMs: 5_000 });
    dump.resetAndDestroy();
    await rejectsWith("ERR_PEER_UNREACHABLE", within(5_000, "source", source));
    assert.instance(await within(5_000, "destination", destination), UmsError);
    relay.close();
  });
  pageServer.close();
});

test.run();
