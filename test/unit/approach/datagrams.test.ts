import * as assert from "uvu/assert";
import { queuedIn, untilRead } from "../../../src/approach/container/datagrams.js";
import { suite } from "../../lib/suite.js";

const test = suite("datagrams");

const header = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt\n";
const line = (rxQueue: string) =>
  `  123: 0200D10A:1B5B 00000000:0000 07 00000000:${rxQueue} 00:00000000 00000000 0 0 1 2 0 0\n`;

test("counts what waits in all sockets", () => {
  assert.is(queuedIn(header + line("00000300") + line("00000000") + line("00000010")), 0x310);
  assert.is(queuedIn(header), 0);
  assert.is(queuedIn(""), 0);
});

test("waits for a service that reads, however slowly", async () => {
  const left = [5, 5, 4, 4, 3, 2, 1, 0];
  await untilRead(async () => left.shift() ?? Number.NaN);
  assert.equal(left, []);
});

test("gives up on a socket that nobody reads", async () => {
  const startMs = performance.now();
  let looks = 0;
  await untilRead(async () => {
    looks += 1;
    return 768;
  });
  assert.ok(performance.now() - startMs >= 20);
  assert.ok(looks > 1);
});

test("gives up on a queue that never ends", async () => {
  let queued = 1e6;
  await untilRead(async () => {
    queued -= 1;
    return queued;
  });
  assert.ok(queued > 0);
});

test.run();
