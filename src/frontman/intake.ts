/**
 * The first bytes of a connection that waits: enough to see what it speaks, and that its client is
 * still there; the rest stays in the kernel.
 */
import type { Socket } from "node:net";

/** What a client speaks, by its first bytes. */
export type Speech =
  | { kind: "http1"; path: string }
  /** HTTP/2 without TLS and without an upgrade, as gRPC does. */
  | { kind: "http2" }
  | { kind: "other" };

/** A request line longer than this is no request of a browser. */
const maxBytesEach = 16 * 1024;
/** RFC 9113, 3.4. */
const http2Preface = "PRI * HTTP/2.0\r\n";
const requestLine = /^[A-Z]{1,20} (\S+) HTTP\/1\.[01]\r?\n/;
const requestBegin = /^[A-Z]{1,20}( \S*( (H(T(T(P(\/(1(\.([01]\r?)?)?)?)?)?)?)?)?)?)?$/;

export class Intake {
  /** Settles when it is clear; never while a client says nothing. */
  readonly speech: Promise<Speech>;
  #speak: (speech: Speech) => void = () => undefined;
  #bytes = Buffer.alloc(0);
  #hasEnded = false;

  constructor(private readonly socket: Socket) {
    this.speech = new Promise((resolve) => {
      this.#speak = resolve;
    });
    socket.on("data", this.#take);
    socket.on("end", this.#end);
    socket.resume();
  }

  /**
   * Puts everything back in front of what the socket reads next, paused. A client that has said
   * everything and closed its half leaves nothing to read.
   * @returns undefined, or for such a client all that it said
   */
  release(): Buffer | undefined {
    this.socket.off("data", this.#take);
    this.socket.off("end", this.#end);
    this.socket.pause();
    if (this.#hasEnded) return this.#bytes;
    if (this.#bytes.length > 0) this.socket.unshift(this.#bytes);
    return undefined;
  }

  readonly #take = (chunk: Buffer): void => {
    this.#bytes = Buffer.concat([this.#bytes, chunk]);
    const speech = understand(this.#bytes, this.#bytes.length >= maxBytesEach);
    if (speech === undefined) return;
    // At once: an `end` that was told here could not be told to whom the socket is given.
    this.socket.pause();
    this.#speak(speech);
  };

  readonly #end = (): void => {
    this.#hasEnded = true;
    this.#speak(understand(this.#bytes, true) ?? { kind: "other" });
  };
}

/** Undefined: more bytes are needed. @param isAll there will be none, or none are awaited */
export function understand(bytes: Buffer, isAll: boolean): Speech | undefined {
  const text = bytes.toString("latin1", 0, maxBytesEach);
  if (text.startsWith(http2Preface)) return { kind: "http2" };
  const path = requestLine.exec(text)?.[1];
  if (path !== undefined) return { kind: "http1", path };
  const mayBecome = http2Preface.startsWith(text) || requestBegin.test(text);
  return mayBecome && !isAll ? undefined : { kind: "other" };
}
