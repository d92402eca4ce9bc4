/** The destination's end of a checkpoint, over real sockets. */
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { join } from "node:path";
import { Readable } from "node:stream";
import * as assert from "uvu/assert";
import { createCheckpointReceiver } from "../../src/checkpoint/receive.js";
import { grantsOf } from "../../src/checkpoint/vet/grants.js";
import { within } from "../../src/lib/deadline.js";
import { sendFiles } from "../../src/transfer/files.js";
import { config, goodFiles } from "../lib/checkpoint-files.js";
import { suite } from "../lib/suite.js";
import { withDirectory } from "../lib/temporary.js";

const test = suite("receiving a checkpoint");

test("lets the stream of files go when it has all of them and the source has let go", () =>
  withDirectory(receiveOne));

test.run();

async function receiveOne(imagesDir: string): Promise<void> {
  const server = createServer({ allowHalfOpen: true }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const accepting = once(server, "connection") as Promise<[Socket]>;
  const { port } = server.address() as AddressInfo;
  const source = connect({ port, host: "127.0.0.1", allowHalfOpen: true });
  const [stream] = await accepting;
  const closed = once(stream, "close");
  const receiver = createCheckpointReceiver({
    imagesDir,
    workDir: imagesDir,
    maxFilesBytes: 1024,
    maxPagesBytes: undefined,
    grants: grantsOf(config, "x64"),
    dumpTimeoutMs: 5_000,
  });
  const files = Object.entries(goodFiles()).map(([name, content]) => ({
    name,
    readable: Readable.from([content]),
  }));
  await Promise.all([receiver.acceptFiles(stream), sendFiles(source, files)]);
  assert.equal(await readFile(join(imagesDir, "core-1.img")), goodFiles()["core-1.img"]);
  source.destroy();
  await within(2_000, "the end of the stream", closed);
  server.close();
}
