/** Repeats a call to something that may be away for a while. */
import { UmsError } from "../errors.js";
import { backoffMs } from "../lib/backoff.js";
import { sleep } from "../lib/deadline.js";

export interface PersistOptions {
  /** How long failures that may pass are repeated; Infinity: until `signal` aborts. */
  forMs: number;
  signal: AbortSignal;
  /** Which failures are repeated. Default: {@link isPassing}. */
  isRepeated?: (error: UmsError) => boolean;
  /** Told before each repeat. */
  onRepeat?: (error: UmsError) => void;
  /** First and longest pause. Default 500 and 30,000. */
  backoff?: { initialMs: number; maxMs: number };
}

/** Failures that say nothing about the request: nobody answered, or not in time. */
export function isPassing(error: UmsError): boolean {
  return error.kind === "unavailable" || error.kind === "deadline";
}

/** @throws what `work` throws at last; ERR_CANCELLED as soon as `signal` aborts */
export async function persist<T>(work: () => Promise<T>, options: PersistOptions): Promise<T> {
  const { forMs, signal, isRepeated = isPassing } = options;
  const backoff = options.backoff ?? { initialMs: 500, maxMs: 30_000 };
  const endMs = performance.now() + forMs;
  for (let attempt = 0; ; attempt += 1) {
    try {
      return await abortable(work(), signal);
    } catch (thrown) {
      const error = UmsError.from(thrown);
      if (signal.aborted || !isRepeated(error) || performance.now() >= endMs) throw error;
      options.onRepeat?.(error);
    }
    await sleep(backoffMs(attempt, backoff), signal);
  }
}

/** Waits for `work` or the signal; the work itself goes on, and must be idempotent. */
function abortable<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(new UmsError("ERR_CANCELLED", "cancelled"));
    if (signal.aborted) onAbort();
    signal.addEventListener("abort", onAbort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener("abort", onAbort));
  });
}
