/** Waits that end by success or by a signal, for what must succeed at last whatever goes wrong. */
import { UmsError } from "../errors.js";
import { backoffMs } from "../lib/backoff.js";
import { sleep } from "../lib/deadline.js";
import type { Logger } from "../lib/log.js";

const localBackoff = { initialMs: 20, maxMs: 2_000 };
/** About 12 s. */
const maxAttempts = 13;

/**
 * Repeats `work`, something on this machine, until it succeeds; logs `complaint` at each failure.
 * @throws ERR_CANCELLED when `signal` aborts between two tries
 */
export async function untilDone(
  complaint: string,
  work: () => Promise<void>,
  options: { log: Logger; signal: AbortSignal },
): Promise<void> {
  const { log, signal } = options;
  for (let attempt = 0; ; attempt += 1) {
    try {
      return await work();
    } catch (error) {
      if (!signal.aborted) log.error({ err: error, attempt }, complaint);
      await sleep(backoffMs(attempt, localBackoff), signal);
    }
  }
}

/**
 * As {@link untilDone}, for what may stay undone: an engine that was away is back in seconds, and
 * what can never be deleted must not block what comes after.
 */
export async function untilGivenUp(
  complaint: string,
  work: () => Promise<void>,
  options: { log: Logger; signal: AbortSignal },
): Promise<void> {
  let attempts = 0;
  const limited = async () => {
    attempts += 1;
    await work().catch((error: unknown) => {
      if (attempts < maxAttempts) throw error;
      options.log.error({ err: error, attempts }, `${complaint}: given up`);
    });
  };
  await untilDone(complaint, limited, options);
}

/**
 * The result of `work`, or ERR_CANCELLED as soon as `signal` aborts. The work itself is not
 * stopped; what becomes of it then is not looked at.
 */
export function orAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(new UmsError("ERR_CANCELLED", "cancelled"));
    if (signal.aborted) onAbort();
    signal.addEventListener("abort", onAbort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener("abort", onAbort));
  });
}
