/** What a migration does when the outer container is asked to stop. */
import { poll } from "../lib/deadline.js";
import type { Logger } from "../lib/log.js";
import type { DestinationRunner } from "../migration/destination-role.js";
import type { SourceRunner } from "../migration/source-runner.js";
import { isBusy, isUndecided } from "../migration/source-state.js";

export interface StoppedMigration {
  /** Undefined while no service is here. */
  source: SourceRunner | undefined;
  destination: DestinationRunner;
  log: Logger;
}

/**
 * One that is not committed is aborted at the source and refused at the destination; one that is
 * committed is given `timeoutMs` to be confirmed. Never rejects for what is left undone.
 */
export async function prepareStop(
  { source, destination, log }: StoppedMigration,
  timeoutMs: number,
): Promise<void> {
  // Or it would be committed to, and end as soon as it has come.
  await destination.stop().catch((error: unknown) => {
    log.warn({ err: error }, "what was received could not be discarded in time");
  });
  if (source === undefined || !isBusy(source.state.phase)) return;
  if (isUndecided(source.state.phase)) {
    await source.cancel("the outer container was asked to stop");
  }
  try {
    const isSettled = () => !isBusy(source.state.phase);
    await poll("the end of the migration", isSettled, { timeoutMs });
  } catch (error) {
    log.error({ err: error, ...source.state }, "stopped in the middle of a migration");
  }
}
