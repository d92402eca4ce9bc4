/** A reservation's time limit: it ends when the source has shown no sign of life for so long. */
import { UmsError } from "../errors.js";

export interface Lease {
  start(): void;
  /** A sign of life. Nothing when the lease has ended or was never started. */
  renew(): void;
  /** A lasting sign of life: it cannot end until the returned function is called. */
  hold(): () => void;
  /** Whoever held it may let go later without effect. */
  end(): void;
}

/** Ten minutes: longer than any pause of a healthy source. */
const defaultLeaseMs = 10 * 60_000;

/**
 * @param leaseMs default 10 min
 * @param onExpired called once, with the reason, if the lease is neither renewed nor ended for so long
 */
export function createLease(
  leaseMs = defaultLeaseMs,
  onExpired: (reason: UmsError) => void,
): Lease {
  let isActive = false;
  let holders = 0;
  let timer: NodeJS.Timeout | undefined;

  function renew(): void {
    clearTimeout(timer);
    if (!isActive || holders > 0) return;
    timer = setTimeout(() => {
      isActive = false;
      const message = `nothing was heard of the source for ${leaseMs} ms`;
      onExpired(new UmsError("ERR_DEADLINE", message));
    }, leaseMs);
    timer.unref();
  }

  return {
    start() {
      isActive = true;
      renew();
    },
    renew,
    hold() {
      holders += 1;
      renew();
      return () => {
        holders -= 1;
        renew();
      };
    },
    end() {
      isActive = false;
      clearTimeout(timer);
    },
  };
}
