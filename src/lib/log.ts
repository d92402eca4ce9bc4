/**
 * The supervisor's own log: one JSON object a line on stderr, so that the service's stdout and
 * stderr stay its own. Constant message, variables as fields. A library function that throws
 * does not log as well.
 */
import { destination, type Logger, pino } from "pino";

export type { Logger };

/** `sync: true` because a line that explains a crash must be out before the crash. */
export function createLogger(level: string): Logger {
  return pino(
    { level, base: { source: "ums" }, timestamp: pino.stdTimeFunctions.isoTime },
    destination({ fd: 2, sync: true }),
  );
}

/** A logger that says nothing, for tools and tests. */
export function silentLogger(): Logger {
  return pino({ level: "silent" });
}
