/** How a restore that is not wanted, or did not come off, ends. */
import { criuError } from "../../criu/explain.js";
import { UmsError } from "../../errors.js";
import { poll } from "../../lib/deadline.js";
import { refusePendingRestores } from "../../oci/pending-restore.js";

/** What the watchdog saw says more than the end of an endless log. */
export async function restoreError(log: string, cause: unknown): Promise<UmsError> {
  const error = await criuError("ERR_CRIU_RESTORE_FAILED", "the restore", log, cause);
  if (!(cause instanceof UmsError) || cause.code !== error.code) return error;
  const { details } = error;
  return new UmsError(cause.code, cause.message, { details, hint: cause.hint ?? "", cause });
}

/**
 * Makes every runtime fail that waits at a restore gate or comes to one, until `work`, which waits
 * for that, has ended: a runtime that has not opened its gate yet would not hear a single word.
 */
export async function untilWithdrawn<T>(work: Promise<T>, timeoutMs: number): Promise<T> {
  let hasEnded = false;
  const ending = work.finally(() => {
    hasEnded = true;
  });
  const withdraw = async () => {
    await refusePendingRestores();
    return hasEnded;
  };
  const withdrawing = poll("withdrawing the restore", withdraw, { timeoutMs, intervalMs: 20 });
  const [result] = await Promise.all([ending, withdrawing]);
  return result;
}
