/**
 * Carries packets between a TUN device and a byte stream to the peer, both ways. At most
 * `maxBufferedBytes` wait in the stream; beyond that the device is not read and its own queue,
 * bounded by the kernel, fills instead.
 */
import type { Duplex } from "node:stream";
import { UmsError } from "../errors.js";
import { PacketParser } from "./packets.js";
import type { Tun } from "./tun.js";

export interface RelayOptions {
  tun: Tun;
  /** Authenticated connection to the peer. The relay ends with it, and destroys it at its end. */
  stream: Duplex;
  /** Tells whether a packet from the peer may enter this machine's kernel. */
  accepts: (packet: Buffer) => boolean;
  /** Default 1 MiB. */
  maxBufferedBytes?: number;
}

/** Packets and bytes that went over the streams so far. */
export interface RelayStats {
  sentPackets: number;
  sentBytes: number;
  receivedPackets: number;
  receivedBytes: number;
  /** Packets from the peer that were not for or from the service, or the kernel refused. */
  rejectedPackets: number;
}

export interface Relay {
  /** Settles when the relay has ended: undefined after `close`, else what ended it. */
  readonly ended: Promise<UmsError | undefined>;
  /** Ends it; packets queue in the device again. */
  close(): void;
}

/** Starts relaying: what is queued first, in order. Adds to `stats`. */
export function startRelay(options: RelayOptions, stats: RelayStats): Relay {
  const { tun, stream, accepts, maxBufferedBytes = 1024 * 1024 } = options;
  const parser = new PacketParser();
  let open = true;
  let settle: (error: UmsError | undefined) => void;
  const ended = new Promise<UmsError | undefined>((resolve) => {
    settle = resolve;
  });

  const end = (error: UmsError | undefined): void => {
    if (!open) return;
    open = false;
    tun.pause();
    stream.destroy();
    settle(error);
  };
  const receive = (packet: Buffer): void => {
    if (!accepts(packet) || !tun.write(packet)) {
      stats.rejectedPackets += 1;
      return;
    }
    stats.receivedPackets += 1;
    stats.receivedBytes += packet.length;
  };

  stream.on("data", (chunk: Buffer) => {
    if (!open) return;
    try {
      parser.push(chunk, receive);
    } catch (error) {
      end(UmsError.from(error));
    }
  });
  stream.on("drain", () => {
    if (open) tun.resume();
  });
  stream.on("error", (error) => end(UmsError.from(error)));
  stream.on("end", () => end(peerClosed()));
  stream.on("close", () => end(peerClosed()));
  tun.read((packets, count) => {
    if (!open) return false;
    stats.sentPackets += count;
    stats.sentBytes += packets.length;
    // `drain` follows only a write that returned false, which is so above this limit as well.
    return stream.write(packets) || stream.writableLength < maxBufferedBytes;
  });
  return { ended, close: () => end(undefined) };
}

/** Counters of a device that has not relayed anything yet. */
export function newRelayStats(): RelayStats {
  return {
    sentPackets: 0,
    sentBytes: 0,
    receivedPackets: 0,
    receivedBytes: 0,
    rejectedPackets: 0,
  };
}

function peerClosed(): UmsError {
  return new UmsError("ERR_PEER_UNREACHABLE", "the peer closed the relay connection");
}
