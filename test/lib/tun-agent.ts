/** A process that owns one TUN device, ums-test, and sends itself numbered datagrams through it. */
import { createSocket } from "node:dgram";
import { UmsError } from "../../src/errors.js";
import { poll } from "../../src/lib/deadline.js";
import { openTun, type Tun } from "../../src/network/tun.js";
import { serveAgent } from "./netns.js";

const ipAndUdpHeaderBytes = 28;
let tun: Tun;
let numbers: number[] = [];
let lost: Error | undefined;
let reading = false;

serveAgent({
  open: async (queuePackets: number) => {
    tun = await openTun({ device: "ums-test", queuePackets });
    numbers = [];
    reading = false;
    tun.onLost((error) => {
      lost = error;
    });
  },
  send: async (count: number, bytes: number) => {
    const socket = createSocket("udp4");
    for (let number = 0; number < count; number += 1) {
      const payload = Buffer.alloc(bytes);
      payload.writeUInt32BE(number);
      await new Promise((resolve) => socket.send(payload, 9, "10.77.0.2", resolve));
    }
    socket.close();
  },
  read: async (count: number) => {
    if (!reading) {
      reading = true;
      tun.read((packets) => {
        for (let offset = 0; offset < packets.length; ) {
          numbers.push(packets.readUInt32BE(offset + ipAndUdpHeaderBytes));
          offset += packets.readUInt16BE(offset + 2);
        }
        return true;
      });
    }
    await poll(`${count} packets`, () => numbers.length >= count, { timeoutMs: 2_000 });
    return numbers.splice(0);
  },
  pause: () => tun.pause(),
  resume: () => tun.resume(),
  dropped: () => tun.droppedPackets(),
  close: () => tun.close(),
  lost: async () => {
    await poll("loss of the device", () => lost !== undefined, { timeoutMs: 2_000 });
    return UmsError.from(lost).code;
  },
});
