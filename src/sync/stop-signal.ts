/** One signal for "the caller gave up" and "time is up", with the error to throw as its reason. */
import { UmsError } from "../errors.js";

export interface StopSignal {
  signal: AbortSignal;
  /** Stops the timer; the signal stays as it is. */
  release(): void;
}

/**
 * Aborts with ERR_DEADLINE naming `what` after `timeoutMs`, or with ERR_CANCELLED as soon as
 * `callerSignal` does.
 */
export function stopSignal(
  timeoutMs: number,
  what: string,
  callerSignal?: AbortSignal,
): StopSignal {
  const controller = new AbortController();
  const onCallerAbort = () =>
    controller.abort(
      new UmsError("ERR_CANCELLED", `${what} cancelled`, { cause: callerSignal?.reason }),
    );
  const timer = setTimeout(
    () =>
      controller.abort(
        new UmsError("ERR_DEADLINE", `${what} did not finish within ${timeoutMs} ms`),
      ),
    timeoutMs,
  );
  if (callerSignal?.aborted) onCallerAbort();
  else callerSignal?.addEventListener("abort", onCallerAbort, { once: true });
  return {
    signal: controller.signal,
    release() {
      clearTimeout(timer);
      callerSignal?.removeEventListener("abort", onCallerAbort);
    },
  };
}

/** Waits for `work` or the signal, whichever is first. The work itself is not stopped. */
export function untilStopped<T>(signal: AbortSignal, work: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(signal.reason);
    if (signal.aborted) onAbort();
    else signal.addEventListener("abort", onAbort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener("abort", onAbort));
  });
}
