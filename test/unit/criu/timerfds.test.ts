import * as assert from "uvu/assert";
import { rearmIn } from "../../../src/criu/timerfds.js";
import { suite } from "../../lib/suite.js";

const test = suite("timerfds of a checkpoint");

/** A files.img with one timerfd; the values are CRIU's vsec, vnsec, isec and insec. */
function imageWith(...values: [number, number, number, number]): Buffer {
  const times = values.flatMap((value, index) => [(7 + index) << 3, ...varint(value)]);
  // id, flags, fown (empty), clockid, ticks, settime_flags
  const timer = [8, 5, 16, 2, 26, 0, 32, 1, 40, 1, 48, 0, ...times];
  // type TIMERFD, id, tfd
  const entry = [8, 17, 16, 5, (12 << 3) | 2, timer.length, ...timer];
  const length = Buffer.alloc(4);
  length.writeUInt32LE(entry.length);
  return Buffer.concat([Buffer.alloc(8), length, Buffer.from(entry)]);
}

function varint(value: number): number[] {
  return value < 0x80 ? [value] : [(value & 0x7f) | 0x80, ...varint(value >>> 7)];
}

test("arms a periodic one that has expired", () => {
  const image = imageWith(0, 0, 0, 20_000_000);
  assert.is(rearmIn(image), 1);
  assert.equal(image, imageWith(0, 1, 0, 20_000_000));
});

test("leaves running, one-shot and disarmed ones alone", () => {
  const others: Parameters<typeof imageWith>[] = [
    [0, 5_000, 0, 20_000_000],
    [3, 0, 1, 0],
    [0, 0, 0, 0],
  ];
  for (const values of others) {
    const image = imageWith(...values);
    assert.is(rearmIn(image), 0);
    assert.equal(image, imageWith(...values));
  }
});

test.run();
