/**
 * IPv4 packets on a byte stream. A packet's own total length (RFC 791, bytes 2 and 3) is the
 * framing, so nothing is added on the wire.
 */
import { UmsError } from "../errors.js";

/** Largest IPv4 packet, bytes. */
export const maxPacketBytes = 65_535;
const minHeaderBytes = 20;

/** Length of the IPv4 packet that starts at `offset`, bytes; undefined if it cannot be one. */
export function packetBytes(buffer: Buffer, offset = 0): number | undefined {
  if (buffer.length - offset < minHeaderBytes) return undefined;
  const first = buffer.readUInt8(offset);
  const headerBytes = (first & 0x0f) * 4;
  const totalBytes = buffer.readUInt16BE(offset + 2);
  if (first >> 4 !== 4 || headerBytes < minHeaderBytes || totalBytes < headerBytes)
    return undefined;
  return totalBytes;
}

/** Source address of a packet as a number, for comparison with {@link addressNumber}. */
export function sourceAddress(packet: Buffer): number {
  return packet.readUInt32BE(12);
}

/** Destination address of a packet as a number. */
export function destinationAddress(packet: Buffer): number {
  return packet.readUInt32BE(16);
}

/** A dotted IPv4 address as a number. @throws ERR_CONFIG_INVALID if it is none. */
export function addressNumber(address: string): number {
  const parts = address.split(".");
  const valid = parts.length === 4 && parts.every((part) => /^\d{1,3}$/.test(part) && +part < 256);
  if (!valid) throw new UmsError("ERR_CONFIG_INVALID", `not an IPv4 address: ${address}`);
  return parts.reduce((number, part) => number * 256 + Number(part), 0);
}

/**
 * Cuts a byte stream into packets. Keeps less than one packet between two calls, so its memory is
 * bounded by {@link maxPacketBytes}.
 */
export class PacketParser {
  #rest: Buffer = Buffer.alloc(0);

  /**
   * Calls `onPacket` for every packet that `chunk` completes; the buffer is valid during the call.
   * @throws ERR_FRAME_INVALID when the stream holds something that is no IPv4 packet. There is no
   *   way to find the next packet then: the stream must be dropped.
   */
  push(chunk: Buffer, onPacket: (packet: Buffer) => void): void {
    const data = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    let offset = 0;
    while (data.length - offset >= minHeaderBytes) {
      const bytes = packetBytes(data, offset);
      if (bytes === undefined) {
        throw new UmsError("ERR_FRAME_INVALID", "the relay stream holds no IPv4 packet here");
      }
      if (data.length - offset < bytes) break;
      onPacket(data.subarray(offset, offset + bytes));
      offset += bytes;
    }
    this.#rest = offset === data.length ? Buffer.alloc(0) : Buffer.from(data.subarray(offset));
  }
}
