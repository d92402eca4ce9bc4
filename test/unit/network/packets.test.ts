import * as assert from "uvu/assert";
import {
  addressNumber,
  destinationAddress,
  PacketParser,
  packetBytes,
  sourceAddress,
} from "../../../src/network/packets.js";
import { throwsWith } from "../../lib/errors.js";
import { suite } from "../../lib/suite.js";

const test = suite("packets on a stream");

test("come out whole, however the stream is cut", () => {
  const packets = [20, 21, 1_500, 65_535].map((bytes, index) => packet(bytes, index));
  const stream = Buffer.concat(packets);
  for (const chunkBytes of [1, 3, 19, 20, 21, 1_000, stream.length]) {
    const parser = new PacketParser();
    const found: Buffer[] = [];
    for (let offset = 0; offset < stream.length; offset += chunkBytes) {
      parser.push(stream.subarray(offset, offset + chunkBytes), (one) =>
        found.push(Buffer.from(one)),
      );
    }
    assert.is(found.length, packets.length);
    assert.ok(Buffer.concat(found).equals(stream));
  }
});

test("anything else ends the stream with an error", () => {
  const ipv6 = packet(40, 0);
  ipv6.writeUInt8(0x60, 0);
  const shorterThanItsHeader = packet(20, 0);
  shorterThanItsHeader.writeUInt16BE(19, 2);
  const headerTooShort = packet(20, 0);
  headerTooShort.writeUInt8(0x44, 0);
  for (const bad of [ipv6, shorterThanItsHeader, headerTooShort]) {
    assert.is(packetBytes(bad), undefined);
    throwsWith("ERR_FRAME_INVALID", () => new PacketParser().push(bad, () => {}));
  }
});

test("tell their addresses", () => {
  const one = packet(20, 0);
  assert.is(sourceAddress(one), addressNumber("192.0.2.200"));
  assert.is(destinationAddress(one), addressNumber("10.209.0.2"));
});

test("only whole dotted addresses are addresses", () => {
  assert.is(addressNumber("255.255.255.255"), 0xffffffff);
  for (const bad of ["", "1.2.3", "1.2.3.256", "1.2.3.4.5", "1.2.3.-4", "::1", "1.2.3.4 }"]) {
    throwsWith("ERR_CONFIG_INVALID", () => addressNumber(bad));
  }
});

test.run();

function packet(bytes: number, fill: number): Buffer {
  const buffer = Buffer.alloc(bytes, fill);
  buffer.writeUInt8(0x45, 0);
  buffer.writeUInt16BE(bytes, 2);
  Buffer.from([192, 0, 2, 200, 10, 209, 0, 2]).copy(buffer, 12);
  return buffer;
}
