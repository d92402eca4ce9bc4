/**
 * A TUN device in this process: packets that the kernel routes into it are read here, packets
 * written here enter the kernel as if received (kernel Documentation/networking/tuntap.rst).
 *
 * While nobody reads, the kernel keeps up to txqueuelen packets and drops the newest beyond that:
 * the device is a bounded queue.
 */
import { closeSync, constants, openSync, readFileSync, readSync, writeSync } from "node:fs";
import { type OnReadOpts, Socket, type SocketConstructorOpts } from "node:net";
import { UmsError } from "../errors.js";
import { run } from "../lib/exec.js";
import { type Libc, loadLibc } from "./libc.js";
import { maxPacketBytes, packetBytes } from "./packets.js";
import { prepareTunnelDevice } from "./sysctl.js";

export interface TunOptions {
  /** Interface name, at most 15 characters. */
  device: string;
  /** Packets the kernel keeps while nobody reads: txqueuelen. Default 10,000. */
  queuePackets?: number;
}

/** Gets whole IPv4 packets, back to back. Returns false to be left alone until `resume`. */
export type OnBatch = (packets: Buffer, count: number) => boolean;

export interface Tun {
  readonly device: string;
  /** Starts handing over packets, or replaces the one who gets them. */
  read(onBatch: OnBatch): void;
  /** Hands over no more packets; they queue in the kernel. */
  pause(): void;
  resume(): void;
  /**
   * Takes what is queued now, synchronously, a packet at a time; at most `limit` packets.
   * The buffer is valid during the call. Returns how many there were.
   */
  drain(limit: number, onPacket: (packet: Buffer) => void): number;
  /** Gives one packet to the kernel. False when the kernel did not take it (then it is lost). */
  write(packet: Buffer): boolean;
  /** Packets the kernel dropped because the queue was full; 0 once closed or lost. */
  droppedPackets(): number;
  /** Called once if the device is lost, for example deleted by someone. */
  onLost(listener: (error: UmsError) => void): void;
  /** Closes the descriptors; the kernel removes the device with them. */
  close(): void;
}

const setInterface = 0x400454ca; // TUNSETIFF, linux/if_tun.h
const flagsTunWithoutHeader = 0x0001 | 0x1000; // IFF_TUN | IFF_NO_PI
const interfaceRequestBytes = 40; // struct ifreq
const maxDeviceNameChars = 15; // IFNAMSIZ less the NUL
/** One batch: room for 64 packets of 1,500 bytes and one of the largest size. */
const batchBytes = 64 * 1_500 + maxPacketBytes;

/**
 * Creates the device and sets it up, without an address. It is not persistent: it ends with this
 * process, so nothing is left behind by a crash.
 * @throws ERR_NETWORK_SETUP when the device cannot be made: no /dev/net/tun, no NET_ADMIN, or the
 *   name is taken (EBUSY).
 */
export async function openTun(options: TunOptions): Promise<Tun> {
  const { device, queuePackets = 10_000 } = options;
  if (device.length > maxDeviceNameChars || !/^[a-z][a-z0-9-]*$/.test(device)) {
    throw new UmsError("ERR_CONFIG_INVALID", `not a usable interface name: ${device}`);
  }
  const libc = loadLibc();
  const fd = createDevice(libc, device);
  try {
    prepareTunnelDevice(device);
    // The largest MTU, so that no packet that came in by any other interface is too big for it.
    const link = ["ip", "link", "set", device, "mtu", String(maxPacketBytes)];
    await run([...link, "txqueuelen", String(queuePackets), "up"]);
  } catch (error) {
    closeSync(fd);
    throw error;
  }
  return new OpenTun(device, fd, libc);
}

function createDevice(libc: Libc, device: string): number {
  let fd: number;
  try {
    fd = openSync("/dev/net/tun", constants.O_RDWR | constants.O_NONBLOCK);
  } catch (cause) {
    throw new UmsError("ERR_NETWORK_SETUP", "cannot open /dev/net/tun", {
      cause,
      hint: "the outer container needs the device /dev/net/tun (character device 10:200)",
    });
  }
  try {
    const request = Buffer.alloc(interfaceRequestBytes);
    request.write(device, "latin1");
    request.writeUInt16LE(flagsTunWithoutHeader, 16);
    libc.ioctl(fd, setInterface, request);
    return fd;
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

class OpenTun implements Tun {
  readonly device: string;
  readonly #fd: number;
  readonly #libc: Libc;
  #socket: Socket | undefined;
  #onBatch: OnBatch = () => false;
  #onLost: (error: UmsError) => void = () => {};
  #lost = false;
  #closed = false;

  constructor(device: string, fd: number, libc: Libc) {
    this.device = device;
    this.#fd = fd;
    this.#libc = libc;
  }

  read(onBatch: OnBatch): void {
    this.#onBatch = onBatch;
    if (this.#socket === undefined) this.#socket = this.#openSocket();
    else this.#socket.resume();
  }

  pause(): void {
    this.#socket?.pause();
  }

  resume(): void {
    this.#socket?.resume();
  }

  drain(limit: number, onPacket: (packet: Buffer) => void): number {
    const buffer = Buffer.allocUnsafe(maxPacketBytes);
    let count = 0;
    while (count < limit) {
      const bytes = this.#readPacket(buffer, 0);
      if (bytes === 0) break;
      count += 1;
      onPacket(buffer.subarray(0, bytes));
    }
    return count;
  }

  write(packet: Buffer): boolean {
    try {
      return writeSync(this.#fd, packet) === packet.length;
    } catch (error) {
      // EAGAIN, ENOBUFS: no memory for it now. EINVAL: not a packet. EIO: the device is down.
      // A lost packet is the network's normal case; the sender repeats what matters.
      if (!isOneOf(error, ["EAGAIN", "ENOBUFS", "EINVAL", "EIO"])) this.#lose(error);
      return false;
    }
  }

  droppedPackets(): number {
    if (this.#closed || this.#lost) return 0;
    return Number(readFileSync(`/sys/class/net/${this.device}/statistics/tx_dropped`, "utf8"));
  }

  onLost(listener: (error: UmsError) => void): void {
    this.#onLost = listener;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#socket?.destroy();
    closeSync(this.#fd);
  }

  /**
   * A socket whose descriptor is the TUN device: libuv then polls it with epoll like any other,
   * no thread waits in read(2) and destroy() ends it. `new Socket({ fd })` refuses a character
   * device, though libuv handles it well, so the socket is made for a pipe and the device put in
   * the pipe's place (dup3) before the first poll. Measured: 660 MB/s of 1,400-byte packets, one
   * core; a waiting fs.read would hold one of libuv's four threads for ever.
   */
  #openSocket(): Socket {
    const [readEnd, writeEnd] = this.#libc.pipe();
    const first = Buffer.allocUnsafe(maxPacketBytes);
    const options: SocketConstructorOpts & { onread: OnReadOpts } = {
      fd: readEnd,
      readable: true,
      writable: false,
      onread: { buffer: first, callback: (bytes) => this.#onReadable(first.subarray(0, bytes)) },
    };
    const socket = new Socket(options);
    socket.on("error", (error) => this.#lose(error));
    this.#libc.duplicate(this.#fd, readEnd);
    closeSync(writeEnd);
    return socket;
  }

  /** libuv has read one packet; takes the others that are there, so that they travel together. */
  #onReadable(first: Buffer): boolean {
    if (this.#closed || this.#lost) return false;
    const batch = Buffer.allocUnsafe(batchBytes);
    let bytes = keepPacket(batch, 0, first.copy(batch));
    let count = bytes === 0 ? 0 : 1;
    while (batch.length - bytes >= maxPacketBytes) {
      const more = this.#readPacket(batch, bytes);
      if (more === 0) break;
      const kept = keepPacket(batch, bytes, more);
      bytes += kept;
      count += kept === 0 ? 0 : 1;
    }
    return count === 0 || this.#onBatch(batch.subarray(0, bytes), count);
  }

  /** Bytes of the next queued packet, 0 when there is none. */
  #readPacket(buffer: Buffer, offset: number): number {
    try {
      return readSync(this.#fd, buffer, offset, maxPacketBytes, null);
    } catch (error) {
      if (!isOneOf(error, ["EAGAIN"])) this.#lose(error);
      return 0;
    }
  }

  /** The device is gone (EBADFD, which Node has no name for). Its descriptors stay ours to close. */
  #lose(cause: unknown): void {
    if (this.#closed || this.#lost) return;
    this.#lost = true;
    this.#socket?.destroy();
    const message = `the network device ${this.device} is gone`;
    this.#onLost(new UmsError("ERR_NETWORK_SETUP", message, { cause }));
  }
}

/** `bytes` if it is one whole IPv4 packet, else 0: anything else would break the framing. */
function keepPacket(batch: Buffer, offset: number, bytes: number): number {
  return packetBytes(batch.subarray(0, offset + bytes), offset) === bytes ? bytes : 0;
}

function isOneOf(error: unknown, codes: readonly string[]): boolean {
  return codes.includes((error as NodeJS.ErrnoException).code ?? "");
}
