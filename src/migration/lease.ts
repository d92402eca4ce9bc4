/** A reservation's time limit: it ends when the source has shown no sign of life for so long. */
export interface Lease {
  start(): void;
  /** A sign of life. Nothing when the lease has ended or was never started. */
  renew(): void;
  /** A lasting sign of life: it cannot end until the returned function is called. */
  hold(): () => void;
  /** Whoever held it may let go later without effect. */
  end(): void;
}

/** @param onExpired called once, if the lease is neither renewed nor ended for `leaseMs` */
export function createLease(leaseMs: number, onExpired: () => void): Lease {
  let isActive = false;
  let holders = 0;
  let timer: NodeJS.Timeout | undefined;

  function renew(): void {
    clearTimeout(timer);
    if (!isActive || holders > 0) return;
    timer = setTimeout(() => {
      isActive = false;
      onExpired();
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
