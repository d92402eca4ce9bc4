/** How often somebody may do something: a token bucket for each. */
import { UmsError } from "../errors.js";

export interface RateLimitOptions {
  /** For the message, e.g. `Reserve calls`. */
  what: string;
  /** So many at once. */
  burst: number;
  /** And so many more every second. */
  perSecond: number;
  /** Monotonic clock, ms. */
  nowMs?: () => number;
}

export interface RateLimit {
  /** @throws ERR_TOO_MANY_REQUESTS when `who` has none left; takes nothing */
  check(who: string): void;
  /** Takes one. @throws ERR_TOO_MANY_REQUESTS when `who` has none left */
  take(who: string): void;
}

interface Bucket {
  left: number;
  atMs: number;
}

/** Buckets are forgotten once full; this many who are not are kept at most, the oldest go first. */
const maxBuckets = 10_000;

export function createRateLimit(options: RateLimitOptions): RateLimit {
  const { what, burst, perSecond, nowMs = () => performance.now() } = options;
  const buckets = new Map<string, Bucket>();

  function leftOf(who: string): number {
    const bucket = buckets.get(who);
    if (bucket === undefined) return burst;
    return Math.min(burst, bucket.left + ((nowMs() - bucket.atMs) * perSecond) / 1_000);
  }

  function check(who: string): number {
    const left = leftOf(who);
    if (left >= 1) return left;
    throw new UmsError("ERR_TOO_MANY_REQUESTS", `too many ${what} of ${who}`, {
      hint: `try again in ${Math.ceil((1 - left) / perSecond)} s`,
    });
  }

  /** Oldest first: every use puts a bucket at the end. */
  function forget(): void {
    for (const who of buckets.keys()) {
      if (buckets.size <= maxBuckets && leftOf(who) < burst) return;
      buckets.delete(who);
    }
  }

  return {
    check: (who) => void check(who),
    take(who) {
      const left = check(who);
      buckets.delete(who);
      buckets.set(who, { left: left - 1, atMs: nowMs() });
      forget();
    },
  };
}
