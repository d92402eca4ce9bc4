/**
 * Keeps the relay from the source to the destination alive for as long as the service is away:
 * packets queue while there is no connection, so a broken one costs a pause, not the flows.
 */
import type { Duplex } from "node:stream";
import { backoffMs } from "../../lib/backoff.js";
import { sleep } from "../../lib/deadline.js";
import type { Logger } from "../../lib/log.js";
import type { Hold } from "../../network/hold.js";

export interface RelayKeeper {
  /** Begins with `first`, or by opening a stream. Takes the place of an earlier keeping. */
  start(first: Duplex | undefined): void;
  /** Ends the keeping; the relay that runs ends with the hold. */
  close(): void;
}

/** One for each hold: two would take the relay from each other. */
export interface RelayKeeperDeps {
  hold(): Hold;
  /** Opens a further relay stream to where the service is. */
  open(): Promise<Duplex>;
  log: Logger;
}

const reconnectBackoff = { initialMs: 100, maxMs: 10_000 };

export function createRelayKeeper({ hold, open, log }: RelayKeeperDeps): RelayKeeper {
  let closing: AbortController | undefined;

  async function keep(first: Duplex | undefined, signal: AbortSignal): Promise<void> {
    let stream = first;
    for (let attempt = 0; !signal.aborted; attempt += 1) {
      try {
        // Released: the service came home, and its traffic with it.
        if (attempt > 0 && !(await hold().isEngaged())) return;
        stream ??= await open();
        const attachedMs = performance.now();
        const error = await hold().attach(stream).ended;
        if (signal.aborted || !(await hold().isEngaged())) return;
        // One that breaks at once is tried ever more seldom.
        if (performance.now() - attachedMs > reconnectBackoff.maxMs) attempt = 0;
        log.warn({ err: error }, "relay to the destination broke; connecting again");
      } catch (error) {
        log.warn({ err: error, attempt }, "no relay to the destination yet");
      }
      stream = undefined;
      await sleep(backoffMs(attempt, reconnectBackoff), signal);
    }
  }

  return {
    start(first) {
      closing?.abort();
      closing = new AbortController();
      const { signal } = closing;
      keep(first, signal).catch((error) => {
        if (!signal.aborted) log.error({ err: error }, "relay to the destination given up");
      });
    },
    close: () => closing?.abort(),
  };
}
