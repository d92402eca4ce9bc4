import { performance } from "node:perf_hooks";
import { within } from "./deadline.js";
import type { Logger } from "./log.js";

/** Closes something that a boot step opened. */
export type Closer = () => Promise<void> | void;

export interface Boot {
  /**
   * Runs one step within its deadline. What it opened is closed by `close`, in reverse order.
   * @throws what the step throws; ERR_DEADLINE naming the step
   */
  step<T>(name: string, timeoutMs: number, work: () => Promise<T>): Promise<T>;
  onClose(name: string, closer: Closer): void;
  /** Closes everything, last opened first; a closer that fails or hangs stops none of the others. */
  close(): Promise<void>;
}

/** Each closer may take this long; the orchestrator's own grace is ten seconds or more. */
const closeTimeoutMs = 8_000;

/** Boot as a list of named steps with a deadline each, shutdown in reverse. */
export function createBoot(log: Logger): Boot {
  const closers: { name: string; closer: Closer }[] = [];
  return {
    async step(name, timeoutMs, work) {
      const startMs = performance.now();
      const result = await within(timeoutMs, `boot step "${name}"`, work());
      log.debug({ step: name, ms: Math.round(performance.now() - startMs) }, "boot step done");
      return result;
    },
    onClose: (name, closer) => void closers.push({ name, closer }),
    async close() {
      for (const { name, closer } of closers.splice(0).reverse()) {
        try {
          await within(closeTimeoutMs, `closing ${name}`, Promise.resolve(closer()));
        } catch (error) {
          log.warn({ err: error, step: name }, "not closed cleanly");
        }
      }
    },
  };
}
