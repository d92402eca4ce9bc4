/** Closing a stream without losing its last bytes. */
import type { Duplex } from "node:stream";

/**
 * Resolves when our side is written out and the peer has ended its own, when the stream is closed
 * for whatever reason, or when `signal` aborts. What still comes in is dropped: closing a TCP
 * socket with unread data resets it and takes back what the peer has not read (RFC 2525, 2.17).
 */
export function untilEnded(stream: Duplex, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const check = () => {
      const isDone = stream.writableFinished && stream.readableEnded;
      if (!isDone && !stream.destroyed && !signal.aborted) return;
      for (const event of events) stream.off(event, check);
      signal.removeEventListener("abort", check);
      resolve();
    };
    for (const event of events) stream.on(event, check);
    signal.addEventListener("abort", check, { once: true });
    stream.resume();
    check();
  });
}

const events = ["finish", "end", "close"] as const;
