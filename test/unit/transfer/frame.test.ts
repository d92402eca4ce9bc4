import { PassThrough } from "node:stream";
import * as assert from "uvu/assert";
import { UmsError } from "../../../src/errors.js";
import {
  encodeFrame,
  maxFrameBytes,
  readAnswer,
  readHeader,
  refusal,
} from "../../../src/transfer/frame.js";
import { rejectsWith, throwsWith } from "../../lib/errors.js";
import { streamOf } from "../../lib/streams.js";
import { suite } from "../../lib/suite.js";

const test = suite("opening frames");

const header = { migrationId: "0a1b-2c", kind: "pages", name: "pages-1.img" };
const frame = encodeFrame(header);

function jsonFrame(value: unknown): Buffer {
  const text = Buffer.from(JSON.stringify(value));
  const length = Buffer.alloc(4);
  length.writeUInt32BE(text.length);
  return Buffer.concat([Buffer.from("UMS1"), length, text]);
}

test("a header is read back, and what follows stays in the stream", async () => {
  const stream = streamOf(frame, Buffer.from("the rest"));
  assert.equal(await readHeader(stream, 1_000), header);
  assert.is(stream.read()?.toString(), "the rest");
});

test("a header may arrive byte by byte", async () => {
  assert.equal(await readHeader(streamOf(...[...frame].map((b) => Buffer.of(b))), 1_000), header);
});

test("a header cut anywhere is short", async () => {
  for (let length = 0; length < frame.length; length += 1) {
    const cut = streamOf(frame.subarray(0, length));
    await rejectsWith("ERR_TRANSFER_SHORT", readHeader(cut, 1_000));
  }
});

test("bytes that come slowly do not move the deadline", async () => {
  const stream = new PassThrough();
  const trickle = setInterval(() => stream.write("U"), 5);
  try {
    await rejectsWith("ERR_DEADLINE", readHeader(stream, 30));
  } finally {
    clearInterval(trickle);
    stream.destroy();
  }
});

test("another protocol, a length too large and text that is no header are malformed", async () => {
  const malformed = [
    Buffer.from("GET / HTTP/1.1\r\n\r\n"),
    Buffer.concat([Buffer.from("UMS2"), frame.subarray(4)]),
    Buffer.from("UMS1\xff\xff\xff\xff", "latin1"),
    Buffer.from(`UMS1\0\0${String.fromCharCode(0x10, 0x01)}${"x".repeat(4097)}`, "latin1"),
    Buffer.from("UMS1\0\0\0\x03{x}", "latin1"),
    ...[null, [], "x", {}, { ...header, kind: 1 }, { ...header, kind: "" }].map(jsonFrame),
    ...[
      { ...header, kind: "../x" },
      { ...header, migrationId: "a b" },
      { ...header, migrationId: "a".repeat(65) },
      { ...header, name: "line\nbreak" },
      { ...header, name: "x".repeat(1_025) },
      { migrationId: "a", kind: "b" },
    ].map(jsonFrame),
  ];
  for (const bytes of malformed) {
    await rejectsWith("ERR_FRAME_INVALID", readHeader(streamOf(bytes), 1_000));
  }
});

test("a header that cannot be sent is refused here, not by the peer", () => {
  const tooLong = { ...header, name: "x".repeat(maxFrameBytes) };
  throwsWith("ERR_FRAME_INVALID", () => encodeFrame(tooLong));
});

test("an answer keeps the refusal's code; an unknown one becomes internal", async () => {
  await readAnswer(streamOf(encodeFrame({ ok: true })), 1_000);
  const full = new UmsError("ERR_NO_ROOM", `full${"!".repeat(9_999)}`);
  const no = encodeFrame(refusal(full));
  const error = await rejectsWith("ERR_NO_ROOM", readAnswer(streamOf(no), 1_000));
  assert.match(error.message, "full!");
  const newer = jsonFrame({ ok: false, code: "ERR_NEW", message: "m" });
  const unknown = await rejectsWith("ERR_INTERNAL", readAnswer(streamOf(newer), 1_000));
  assert.is(unknown.details["code"], "ERR_NEW");
  const inherited = jsonFrame({ ok: false, code: "toString", message: "m" });
  await rejectsWith("ERR_INTERNAL", readAnswer(streamOf(inherited), 1_000));
  for (const value of [{}, { ok: 1 }, { ok: false }, { ok: false, code: 1, message: "" }]) {
    await rejectsWith("ERR_FRAME_INVALID", readAnswer(streamOf(jsonFrame(value)), 1_000));
  }
});

test.run();
