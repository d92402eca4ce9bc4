import * as assert from "uvu/assert";
import { unfinishedIn } from "../../../src/approach/container/handshakes.js";
import { suite } from "../../lib/suite.js";

const test = suite("handshakes");

const header = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt\n";
const line = (state: string, rxQueue: string) =>
  `   0: 0200D10A:1B58 0100D10A:D2F0 ${state} 00000000:${rxQueue} 00:00000000 00000000 0 0 1\n`;

test("counts half-open connections and those not accepted yet", () => {
  assert.is(unfinishedIn(header + line("0A", "00000000") + line("01", "00000010")), 0);
  assert.is(unfinishedIn(header + line("0A", "00000002") + line("03", "00000000")), 3);
});

test("finds nothing in an empty table", () => {
  assert.is(unfinishedIn(""), 0);
});

test.run();
