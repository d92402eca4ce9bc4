import { openSync, readSync } from "node:fs";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { run } from "../../../src/lib/exec.js";
import { openSink } from "../../../src/nested/sink.js";
import { suite } from "../../lib/suite.js";
import { withDirectory } from "../../lib/temporary.js";

const test = suite("sink of the service's output");

async function withPipe(use: (fd: number) => Promise<void>): Promise<void> {
  await withDirectory(async (directory) => {
    const path = join(directory, "pipe");
    await run(["mkfifo", path]);
    // Both ends: opening one alone would wait for the other (man 7 fifo).
    await use(openSync(path, "r+"));
  });
}

test("what fits into the pipe is counted before anything else can happen", () =>
  withPipe(async (fd) => {
    const sink = openSink(fd);
    let counted = 0;
    const writing = sink.write(Buffer.from("a line\n"), (bytes) => {
      counted += bytes;
    });
    assert.is(counted, 7);
    await writing;
    sink.close();
  }));

test("a slow reader gets every byte, and the writer is not stopped", () =>
  withPipe(async (fd) => {
    const sink = openSink(fd);
    // More than a pipe holds (64 KiB, man 7 pipe).
    const bytes = Buffer.alloc(200_000, "0123456789");
    let counted = 0;
    const writing = sink.write(bytes, (count) => {
      counted += count;
    });
    const got = Buffer.alloc(bytes.length);
    for (let offset = 0; offset < got.length; ) {
      // Reached although the pipe is full: the write did not block.
      offset += readSync(fd, got, offset, Math.min(50_000, got.length - offset), null);
      while (counted < bytes.length && counted <= offset) await new Promise(setImmediate);
    }
    await writing;
    assert.is(counted, bytes.length);
    assert.ok(got.equals(bytes));
    sink.close();
  }));

test.run();
