import * as assert from "uvu/assert";
import type { UmsError } from "../../../src/errors.js";
import { type OutputFrame, splitFrames } from "../../../src/nested/frames.js";
import { skipBytes } from "../../../src/nested/output.js";
import { suite } from "../../lib/suite.js";

const test = suite("output frames of the engine");

function frame(type: number, text: string): Buffer {
  const header = Buffer.alloc(8);
  header.writeUInt8(type, 0);
  header.writeUInt32BE(text.length, 4);
  return Buffer.concat([header, Buffer.from(text)]);
}

async function* chunks(bytes: Buffer, size: number): AsyncGenerator<Buffer> {
  for (let start = 0; start < bytes.length; start += size)
    yield bytes.subarray(start, start + size);
}

async function collect(frames: AsyncIterable<OutputFrame>) {
  const result = { stdout: "", stderr: "" };
  for await (const { stream, payload } of frames) result[stream] += payload.toString("latin1");
  return result;
}

const stream = Buffer.concat([frame(1, "out1"), frame(2, "err"), frame(1, ""), frame(1, "out2\0")]);

test("are split whatever the size of the pieces that arrive", async () => {
  for (let size = 1; size <= stream.length; size += 1) {
    const result = await collect(splitFrames(chunks(stream, size)));
    assert.equal(result, { stdout: "out1out2\0", stderr: "err" }, `pieces of ${size}`);
  }
});

test("are refused when they are out of step", async () => {
  try {
    await collect(splitFrames(chunks(Buffer.from("plain text, no frames"), 64)));
  } catch (error) {
    assert.is((error as UmsError).code, "ERR_FRAME_INVALID");
    return;
  }
  assert.unreachable("accepted");
});

test("are skipped to the byte, each stream by its own count", async () => {
  const frames = splitFrames(chunks(stream, 5));
  const result = await collect(skipBytes(frames, { stdout: 6, stderr: 1 }));
  assert.equal(result, { stdout: "t2\0", stderr: "rr" });
});

test.run();
