/** The opening side of the data channel. */
import type { Duplex } from "node:stream";
import { type ConnectionOptions, connect, type TLSSocket } from "node:tls";
import { UmsError } from "../errors.js";
import { tolerateErrors, writeBytes } from "./bytes.js";
import { encodeFrame, readAnswer, type StreamHeader } from "./frame.js";
import { type IdentitySource, secureContextOptions, serverIdentityCheck } from "./security.js";

/**
 * Written but not yet encrypted bytes of a stream. With Node's 16 KiB a sender waits after every
 * write; with 1 MiB it took a third less processor time per byte at 64 KiB a write (measured).
 */
const sendBufferBytes = 1_048_576;

export interface DataStreamOptions {
  /** IP address, resolved before (peer/address.ts). */
  host: string;
  port: number;
  tls: IdentitySource;
  /** Name the peer's certificate must have. Left out: any peer of our authority. */
  expectedPeer?: string;
  header: StreamHeader;
  /** From connecting until the peer has accepted, ms. Default 10,000. */
  timeoutMs?: number;
  /** Destroys the stream when aborted: while opening and as long as it lives. */
  signal?: AbortSignal;
}

/**
 * Opens a data stream: one TLS connection of its own, so that streams neither wait for each other
 * nor share a congestion window. Both directions end independently (`allowHalfOpen`).
 * @throws ERR_PEER_UNREACHABLE, ERR_PEER_UNTRUSTED, ERR_PEER_IDENTITY, ERR_DEADLINE,
 *   ERR_CANCELLED, ERR_FRAME_INVALID, or the code with which the peer refuses
 */
export async function openDataStream(options: DataStreamOptions): Promise<Duplex> {
  const timeoutMs = options.timeoutMs ?? 10_000;
  const where = `${options.host}:${options.port}`;
  const endMs = performance.now() + timeoutMs;
  const frame = encodeFrame(options.header);
  const socket = await connectTls(options, where, timeoutMs);
  try {
    const wait = { timeoutMs: remainingMs(endMs), what: `opening a data stream to ${where}` };
    await writeBytes(socket, [frame], wait);
    await readAnswer(socket, remainingMs(endMs));
    return socket;
  } catch (error) {
    socket.destroy();
    throw error;
  }
}

function connectTls(
  options: DataStreamOptions,
  where: string,
  timeoutMs: number,
): Promise<TLSSocket> {
  const { signal } = options;
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(cancelled(where));
    const identity = options.tls();
    // @types/node 20 lacks the last two here; Node 20 obeys them.
    const tlsOptions: ConnectionOptions & { allowHalfOpen: boolean; highWaterMark: number } = {
      ...secureContextOptions(identity),
      host: options.host,
      port: options.port,
      rejectUnauthorized: true,
      checkServerIdentity: serverIdentityCheck(identity, options.expectedPeer),
      allowHalfOpen: true,
      highWaterMark: sendBufferBytes,
    };
    const socket = connect(tlsOptions);
    socket.setNoDelay(true);
    socket.setKeepAlive(true, 10_000);
    tolerateErrors(socket);
    const onAbort = () => socket.destroy(cancelled(where));
    signal?.addEventListener("abort", onAbort, { once: true });
    const timer = setTimeout(() => {
      socket.destroy(
        new UmsError(
          "ERR_DEADLINE",
          `connecting to ${where} did not finish within ${timeoutMs} ms`,
        ),
      );
    }, timeoutMs);
    const onClose = () => {
      clearTimeout(timer);
      reject(connectFailed(socket, where));
    };
    socket.once("close", () => signal?.removeEventListener("abort", onAbort));
    socket.once("close", onClose);
    socket.once("secureConnect", () => {
      clearTimeout(timer);
      socket.off("close", onClose);
      resolve(socket);
    });
  });
}

/** Names the reason why a connection was not made; the identity check's own error passes as is. */
function connectFailed(socket: TLSSocket, where: string): UmsError {
  const error = socket.errored;
  if (error instanceof UmsError) return error;
  if (error === null) {
    return new UmsError("ERR_PEER_UNREACHABLE", `${where} closed the connection`);
  }
  const { code = "" } = error as NodeJS.ErrnoException;
  // Set by Node when the chain was not accepted; otherwise TLS itself failed.
  const isUntrusted = Boolean(socket.authorizationError) || code.startsWith("ERR_SSL");
  const mapped = isUntrusted ? "ERR_PEER_UNTRUSTED" : UmsError.from(error).code;
  const what = isUntrusted ? "the peer is not trusted" : "cannot connect";
  return new UmsError(mapped, `${where}: ${what}: ${error.message}`, { cause: error });
}

function cancelled(where: string): UmsError {
  return new UmsError("ERR_CANCELLED", `the data stream to ${where} was cancelled`);
}

function remainingMs(endMs: number): number {
  return Math.max(1, endMs - performance.now());
}
