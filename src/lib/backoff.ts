/**
 * Exponential back-off with full jitter: a peer that comes back is not met by every waiting
 * message at once.
 */
export interface BackoffOptions {
  /** First pause's upper bound. */
  initialMs: number;
  maxMs: number;
}

/** Pause before try number `attempt` (0 = the first repeat), random in (half the bound, bound]. */
export function backoffMs(attempt: number, options: BackoffOptions): number {
  const bound = Math.min(options.maxMs, options.initialMs * 2 ** Math.min(attempt, 30));
  return bound / 2 + Math.random() * (bound / 2);
}
