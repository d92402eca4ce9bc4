/**
 * Deadlines: every wait in UMS ends. Timers are monotonic (Node's are), so a clock jump of an hour
 * changes nothing.
 */
import { UmsError } from "../errors.js";

/**
 * Waits for `work`, at most `timeoutMs`.
 * @throws ERR_DEADLINE naming `what`. The work itself is not stopped; pass it a signal for that.
 */
export function within<T>(timeoutMs: number, what: string, work: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(
      () => reject(new UmsError("ERR_DEADLINE", `${what} did not finish within ${timeoutMs} ms`)),
      timeoutMs,
    );
    work.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}

/** Resolves after `ms`; rejects with ERR_CANCELLED as soon as `signal` aborts. */
export function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(cancelled());
    const onAbort = () => {
      clearTimeout(timer);
      reject(cancelled());
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", onAbort);
      resolve();
    }, ms);
    signal?.addEventListener("abort", onAbort, { once: true });
  });
}

export interface PollOptions {
  timeoutMs: number;
  /** Pause between two tries. Default 50. */
  intervalMs?: number;
  signal?: AbortSignal;
}

/**
 * Calls `probe` until it returns something other than undefined or false.
 * For states that offer no event to wait for; where there is one, use it.
 * @throws ERR_DEADLINE naming `what`
 */
export async function poll<T>(
  what: string,
  probe: () => Promise<T | undefined | false> | T | undefined | false,
  options: PollOptions,
): Promise<T> {
  const endMs = performance.now() + options.timeoutMs;
  for (;;) {
    const result = await probe();
    if (result !== undefined && result !== false) return result;
    if (performance.now() >= endMs) {
      throw new UmsError("ERR_DEADLINE", `${what}: not so within ${options.timeoutMs} ms`);
    }
    await sleep(options.intervalMs ?? 50, options.signal);
  }
}

function cancelled(): UmsError {
  return new UmsError("ERR_CANCELLED", "cancelled");
}
