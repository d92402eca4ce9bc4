/**
 * Takes an idle TCP connection out of one kernel and puts it into another, as CRIU does
 * (TCP_REPAIR, linux/tcp.h), so that a test can move a service without moving its process.
 */
import koffi from "koffi";

export interface TcpState {
  local: [address: string, port: number];
  remote: [address: string, port: number];
  /** Sequence numbers of the receive and the send queue. */
  sequences: [number, number];
  mss: number;
  windowScales: number;
  timestamp: number;
  /** struct tcp_repair_window, base64. */
  window: string;
}

const libc = koffi.load("libc.so.6");
const getsockopt = libc.func(
  "int getsockopt(int fd, int level, int name, _Inout_ uint8_t *value, _Inout_ uint32_t *bytes)",
);
const setsockopt = libc.func(
  "int setsockopt(int fd, int level, int name, uint8_t *value, uint32_t bytes)",
);
const socket = libc.func("int socket(int domain, int type, int protocol)");
const bind = libc.func("int bind(int fd, uint8_t *address, uint32_t bytes)");
const connect = libc.func("int connect(int fd, uint8_t *address, uint32_t bytes)");

const tcp = 6;
const repair = 19;
const repairQueue = 20;
const queueSequence = 21;
const repairOptions = 22;
const timestampOption = 24;
const repairWindow = 29;
const tcpInfo = 11;
const windowBytes = 20;
const queues = [1, 2];

/** Stops the connection; closing its descriptor afterwards sends nothing. Queues must be empty. */
export function dumpTcp(fd: number, ends: Pick<TcpState, "local" | "remote">): TcpState {
  set(fd, repair, 1);
  const sequences = queues.map((queue) => {
    set(fd, repairQueue, queue);
    return get(fd, queueSequence, 4).readUInt32LE();
  });
  const info = get(fd, tcpInfo, 104);
  const scales = info.readUInt8(6);
  return {
    ...ends,
    sequences: [sequences[0] ?? 0, sequences[1] ?? 0],
    mss: info.readUInt32LE(16),
    windowScales: (scales & 0x0f) | ((scales >> 4) << 16),
    timestamp: get(fd, timestampOption, 4).readUInt32LE(),
    window: get(fd, repairWindow, windowBytes).toString("base64"),
  };
}

/** Makes the connection again and returns its descriptor. */
export function restoreTcp(state: TcpState): number {
  const fd = check("socket", socket(2, 1, 0));
  set(fd, repair, 1);
  for (const [index, queue] of queues.entries()) {
    set(fd, repairQueue, queue);
    set(fd, queueSequence, state.sequences[index] ?? 0);
  }
  check("bind", bind(fd, socketAddress(state.local), 16));
  check("connect", connect(fd, socketAddress(state.remote), 16));
  const options = [
    [2, state.mss],
    [3, state.windowScales],
    [4, 0],
    [8, 0],
  ];
  setRaw(fd, tcp, repairOptions, Buffer.concat(options.flat().map(u32)));
  set(fd, timestampOption, state.timestamp);
  setRaw(fd, tcp, repairWindow, Buffer.from(state.window, "base64"));
  set(fd, repair, 0xffffffff); // -1: leave repair mode without a window probe
  return fd;
}

function get(fd: number, name: number, bytes: number): Buffer {
  const value = Buffer.alloc(bytes);
  check(`getsockopt ${name}`, getsockopt(fd, tcp, name, value, [bytes]));
  return value;
}

function set(fd: number, name: number, value: number): void {
  setRaw(fd, tcp, name, u32(value));
}

function setRaw(fd: number, level: number, name: number, value: Buffer): void {
  check(`setsockopt ${name}`, setsockopt(fd, level, name, value, value.length));
}

function u32(value: number): Buffer {
  const buffer = Buffer.alloc(4);
  buffer.writeUInt32LE(value >>> 0);
  return buffer;
}

function socketAddress([address, port]: [string, number]): Buffer {
  const buffer = Buffer.alloc(16);
  buffer.writeUInt16LE(2);
  buffer.writeUInt16BE(port, 2);
  Buffer.from(address.split(".").map(Number)).copy(buffer, 4);
  return buffer;
}

function check(call: string, result: number): number {
  if (result < 0) throw new Error(`${call}: errno ${koffi.errno()}`);
  return result;
}
