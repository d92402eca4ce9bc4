/**
 * One question to a name server and its answer, over TCP: answers of any length, no address that
 * can be forged, and every server must offer it (RFC 7766). With a key both ways are signed.
 */
import { randomInt } from "node:crypto";
import { connect } from "node:net";
import { UmsError } from "../errors.js";
import { sign, type TsigKey, verify } from "./tsig.js";

export interface NameServer {
  host: string;
  port: number;
}

export interface ExchangeOptions {
  server: NameServer;
  key?: TsigKey | undefined;
  /** Of connecting, asking and answering together. Default 5,000. */
  timeoutMs?: number;
  signal?: AbortSignal | undefined;
  /** Seconds since 1970, for signatures. Default: the machine's clock. */
  nowSeconds?: () => number;
}

export interface Answer {
  /** Without its signature. */
  message: Buffer;
  /** By its name in the standards, e.g. `NXRRSET`. */
  rcode: string;
}

const defaultTimeoutMs = 5_000;
const lengthBytes = 2;

/** RFC 1035 section 4.1.1 and RFC 2136 section 2.2, by number. */
const rcodes = [
  ...["NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED"],
  ...["YXDOMAIN", "YXRRSET", "NXRRSET", "NOTAUTH", "NOTZONE"],
];

/** Parses `HOST`, `HOST:PORT`, `[IPV6]` or `[IPV6]:PORT`; the port is 53 when left out. @throws ERR_CONFIG_INVALID */
export function parseNameServer(text: string): NameServer {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([A-Za-z0-9_.-]+))(?::(\d{1,5}))?$/.exec(text);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3] ?? 53);
  if (host === undefined || port < 1 || port > 65_535) {
    throw new UmsError("ERR_CONFIG_INVALID", `"${text}" is not HOST or HOST:PORT of a name server`);
  }
  return { host, port };
}

export function newMessageId(): number {
  return randomInt(0x10000);
}

/**
 * Sends a message and reads its answer, whatever its rcode.
 * @throws ERR_DNS_UNREACHABLE, ERR_CANCELLED
 * @throws ERR_DNS_REFUSED as {@link verify}
 * @throws ERR_DNS_UPDATE_FAILED when what comes is not an answer to this message
 */
export async function exchange(message: Buffer, options: ExchangeOptions): Promise<Answer> {
  const { key, nowSeconds = machineSeconds } = options;
  const signed = key === undefined ? undefined : sign(message, key, nowSeconds());
  const received = await transmit(signed?.message ?? message, options);
  try {
    const isAnswer = received.readUInt16BE(0) === message.readUInt16BE(0);
    if (!isAnswer || received.readUInt8(2) >> 7 !== 1) throw new RangeError("another message");
    const rcode = rcodes[received.readUInt8(3) & 0xf] ?? `RCODE ${received.readUInt8(3) & 0xf}`;
    if (key === undefined) return { message: received, rcode };
    return { message: verify(received, key, signed?.mac, nowSeconds()), rcode };
  } catch (cause) {
    if (cause instanceof UmsError) throw cause;
    throw new UmsError("ERR_DNS_UPDATE_FAILED", "the name server's answer is malformed", { cause });
  }
}

/** What an rcode that is not what was wanted means. */
export function rcodeError(rcode: string, what: string, server: NameServer): UmsError {
  const shown = `${server.host}:${server.port}`;
  const details = { reason: rcode, server: shown };
  switch (rcode) {
    case "SERVFAIL":
      return new UmsError("ERR_DNS_UNREACHABLE", `${what}: ${shown} cannot answer (SERVFAIL)`, {
        details,
      });
    case "REFUSED":
    case "NOTAUTH":
      return new UmsError("ERR_DNS_REFUSED", `${what}: ${shown} does not allow it (${rcode})`, {
        details,
        hint: "the server must be the zone's primary and its policy must grant the key this name",
      });
    case "YXDOMAIN":
    case "YXRRSET":
    case "NXRRSET":
    case "NXDOMAIN":
      return new UmsError("ERR_DNS_CONFLICT", `${what}: changed in the meantime (${rcode})`, {
        details,
      });
    default:
      return new UmsError("ERR_DNS_UPDATE_FAILED", `${what}: ${shown} says ${rcode}`, { details });
  }
}

function transmit(message: Buffer, options: ExchangeOptions): Promise<Buffer> {
  const { server, signal, timeoutMs = defaultTimeoutMs } = options;
  const shown = `${server.host}:${server.port}`;
  if (signal?.aborted) return Promise.reject(new UmsError("ERR_CANCELLED", "cancelled"));
  return new Promise((resolve, reject) => {
    const socket = connect(server);
    let received = Buffer.alloc(0);
    const end = (settle: () => void) => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", onAbort);
      socket.destroy();
      settle();
    };
    const unreachable = (reason: string, cause?: unknown) =>
      new UmsError("ERR_DNS_UNREACHABLE", `the name server ${shown} ${reason}`, { cause });
    const timer = setTimeout(
      () => end(() => reject(unreachable(`did not answer within ${timeoutMs} ms`))),
      timeoutMs,
    );
    const onAbort = () => end(() => reject(new UmsError("ERR_CANCELLED", "cancelled")));
    signal?.addEventListener("abort", onAbort, { once: true });
    socket.on("connect", () => {
      const length = Buffer.alloc(lengthBytes);
      length.writeUInt16BE(message.length);
      socket.write(Buffer.concat([length, message]));
    });
    socket.on("data", (chunk) => {
      received = Buffer.concat([received, chunk]);
      if (received.length < lengthBytes) return;
      const endBytes = lengthBytes + received.readUInt16BE(0);
      if (received.length < endBytes) return;
      end(() => resolve(received.subarray(lengthBytes, endBytes)));
    });
    socket.on("error", (error) => end(() => reject(unreachable(`fails: ${error.message}`, error))));
    socket.on("close", () => end(() => reject(unreachable("closed the connection"))));
  });
}

function machineSeconds(): number {
  return Math.floor(Date.now() / 1000);
}
