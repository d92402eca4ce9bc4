import { randomBytes } from "node:crypto";
import * as assert from "uvu/assert";
import {
  createSealer,
  keyBytes,
  lengthBytes,
  newKey,
  RecordOpener,
  sealBytes,
  totalBytes,
} from "../../../src/transfer/sealed-records.js";
import { throwsWith } from "../../lib/errors.js";
import { suite } from "../../lib/suite.js";

const test = suite("sealed records");

const payloads = [randomBytes(1), randomBytes(70_000), randomBytes(300)];

/** The stream as a list of its elements: key, records, last record. */
function encode(): Buffer[] {
  const key = newKey();
  const sealer = createSealer(key);
  const records = payloads.map((payload) => {
    const length = Buffer.alloc(lengthBytes);
    length.writeUInt32BE(payload.length);
    return Buffer.concat([length, payload, sealer.next([payload])]);
  });
  const total = Buffer.alloc(totalBytes);
  total.writeBigUInt64BE(BigInt(sealer.bytes));
  const last = Buffer.concat([Buffer.alloc(lengthBytes), total, sealer.next([total])]);
  return [key, ...records, last];
}

function open(stream: Buffer, pieceBytes: number) {
  const got: Buffer[] = [];
  const opener = new RecordOpener((pieces) => got.push(...pieces));
  for (let offset = 0; offset < stream.length; offset += pieceBytes) {
    opener.push(stream.subarray(offset, offset + pieceBytes));
  }
  return { opener, got: Buffer.concat(got) };
}

test("come out as they went in, whatever the pieces", () => {
  const stream = Buffer.concat(encode());
  for (const pieceBytes of [1, 7, 4_096, stream.length]) {
    const { opener, got } = open(stream, pieceBytes);
    assert.ok(opener.ended);
    assert.ok(got.equals(Buffer.concat(payloads)), `pieces of ${pieceBytes}`);
  }
});

test("give nothing of a record before its seal has come", () => {
  const [key, first] = encode() as [Buffer, Buffer];
  const got: Buffer[] = [];
  const opener = new RecordOpener((pieces) => got.push(...pieces));
  opener.push(Buffer.concat([key, first.subarray(0, -1)]));
  assert.is(got.length, 0);
  opener.push(first.subarray(-1));
  assert.is(got.length, 1);
});

test("fail on one flipped bit anywhere in a record", () => {
  const parts = encode();
  const small = Buffer.concat([parts[0] as Buffer, parts[1] as Buffer]);
  for (let index = keyBytes + lengthBytes; index < small.length; index += 1) {
    const damaged = Buffer.from(small);
    damaged[index] = (damaged[index] as number) ^ 1;
    throwsWith("ERR_FRAME_INVALID", () => open(damaged, damaged.length));
  }
});

test("fail when a record is dropped, repeated or moved", () => {
  const [key, a, b, c, last] = encode() as [Buffer, Buffer, Buffer, Buffer, Buffer];
  for (const order of [
    [key, a, c, last],
    [key, a, a, b, c, last],
    [key, b, a, c, last],
    [key, last],
  ]) {
    const stream = Buffer.concat(order);
    throwsWith("ERR_FRAME_INVALID", () => open(stream, stream.length));
  }
});

test("have not ended when they are cut short at any byte of the last record", () => {
  const parts = encode();
  const stream = Buffer.concat(parts);
  const lastBytes = lengthBytes + totalBytes + sealBytes;
  for (let missing = 1; missing <= lastBytes; missing += 1) {
    assert.not(open(stream.subarray(0, -missing), 4_096).opener.ended);
  }
});

test("refuse bytes behind the last record, and an impossible length", () => {
  const stream = Buffer.concat(encode());
  throwsWith("ERR_FRAME_INVALID", () => open(Buffer.concat([stream, Buffer.alloc(1)]), 4_096));
  const huge = Buffer.concat([newKey(), Buffer.from([0xff, 0xff, 0xff, 0xff])]);
  throwsWith("ERR_FRAME_INVALID", () => open(huge, huge.length));
});

test.run();
