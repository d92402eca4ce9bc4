import type { Daemon } from "../dockerd/daemon.js";
import type { Engine } from "../dockerd/engine.js";
import { sleep } from "../lib/deadline.js";
import type { Logger } from "../lib/log.js";
import type { Output } from "./output.js";

/** How the service ended. */
export interface ServiceExit {
  /** As docker run reports it: the program's own, or 128 + n for signal n. */
  exitCode: number;
  outOfMemory: boolean;
}

export interface LifeContext {
  engine: Engine;
  daemon: Daemon;
  log: Logger;
  /** Ends the following, not the service. */
  signal: AbortSignal;
}

const retryPauseMs = 200;
const daemonBackMs = 60_000;

/**
 * Waits for the end of a container, over crashes of dockerd: each broken wait is asked again.
 * @throws ERR_CANCELLED when the context's signal aborts
 */
export async function untilExit(context: LifeContext, id: string): Promise<ServiceExit> {
  for (;;) {
    try {
      await context.engine.waitContainer(id, context.signal);
      const inspection = await context.engine.inspectContainer(id);
      // Removed by force from outside: what docker run reports for SIGKILL.
      if (inspection === undefined) return { exitCode: 137, outOfMemory: false };
      const { Running, ExitCode, OOMKilled } = inspection.State;
      if (!Running) return { exitCode: ExitCode, outOfMemory: OOMKilled };
    } catch (error) {
      if (context.signal.aborted) throw error;
      context.log.debug({ err: error }, "engine away while waiting for the service");
    }
    await sleep(retryPauseMs, context.signal);
  }
}

/**
 * Passes the service's output on to its end: `first` is the copying under way; when that breaks
 * off while the container still runs, dockerd went away and the log has what followed.
 */
export async function passOutput(
  context: LifeContext,
  id: string,
  first: Promise<void>,
  output: Output,
): Promise<void> {
  await first.catch((error) => context.log.debug({ err: error }, "attached stream broke"));
  while (await isStillRunning(context, id)) {
    try {
      await output.resume();
    } catch (error) {
      context.log.debug({ err: error }, "log stream broke");
    }
    await sleep(retryPauseMs, context.signal);
  }
}

async function isStillRunning(context: LifeContext, id: string): Promise<boolean> {
  for (;;) {
    context.signal.throwIfAborted();
    try {
      await context.daemon.whenReady(daemonBackMs);
      return (await context.engine.inspectContainer(id))?.State.Running ?? false;
    } catch (error) {
      context.log.debug({ err: error }, "engine away while following output");
      await sleep(retryPauseMs, context.signal);
    }
  }
}
