import type { Logger } from "../lib/log.js";

/** What the entrypoint passes on to the supervisor, and the supervisor to the service. */
export const forwardedSignals = [
  "SIGHUP",
  "SIGINT",
  "SIGQUIT",
  "SIGUSR1",
  "SIGUSR2",
  "SIGWINCH",
] as const;

export interface SignalHandlers {
  /** The orchestrator wants the outer container to end. */
  onStop(): void;
  /** A signal for the service, as it is. */
  onSignal(signal: NodeJS.Signals): Promise<void>;
}

/**
 * Listens to signals from here on. SIGTERM is the orchestrator's wish to end; every other one
 * belongs to the service.
 */
export function listenToSignals(handlers: SignalHandlers, log: Logger): { close(): void } {
  const forward = (signal: NodeJS.Signals) => {
    handlers.onSignal(signal).catch((error: unknown) => {
      log.warn({ err: error, signal }, "signal not passed on to the service");
    });
  };
  process.on("SIGTERM", handlers.onStop);
  for (const signal of forwardedSignals) process.on(signal, forward);
  return {
    close() {
      process.off("SIGTERM", handlers.onStop);
      for (const signal of forwardedSignals) process.off(signal, forward);
    },
  };
}
