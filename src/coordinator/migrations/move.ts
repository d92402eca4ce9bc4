/** The migration itself: the order to the source outer container, and finding out its outcome. */
import { UmsError } from "../../errors.js";
import { backoffMs } from "../../lib/backoff.js";
import { sleep } from "../../lib/deadline.js";
import type { ProgressView, ResultView } from "../../migration/view.js";
import { toProblem } from "../problem.js";
import type { Attempt } from "./attempt.js";
import { judge, type Verdict } from "./judge.js";

export async function moveService(attempt: Attempt): Promise<void> {
  if (!attempt.mayOrder) return observe(attempt, undefined);
  attempt.mayOrder = false;
  const ended = new AbortController();
  const stalled = watch(attempt, ended.signal);
  try {
    const result = await Promise.race([order(attempt), stalled]);
    if (result === undefined) return await observe(attempt, undefined);
    await conclude(attempt, result);
  } catch (thrown) {
    attempt.closing.throwIfAborted();
    await observe(attempt, UmsError.from(thrown));
  } finally {
    ended.abort();
  }
}

function order(attempt: Attempt): Promise<ResultView> {
  const { record, deps } = attempt;
  const { service, arrival, request } = record;
  if (service === undefined || arrival === undefined) throw new TypeError("no arrival to move to");
  const wanted = {
    destination: arrival.peerAddress,
    destinationName: arrival.peerName,
    service: "",
    downtimeBudgetMs: request.downtimeBudgetMs ?? 0,
  };
  const onProgress = (progress: ProgressView) => {
    take(attempt, progress).catch((error) => deps.log.debug({ err: error }, "progress not taken"));
  };
  return deps.outer.migrate(service.peerAddress, wanted, onProgress);
}

async function take(attempt: Attempt, { migrationId, ...progress }: ProgressView): Promise<void> {
  if (attempt.record.supervisorMigrationId === undefined) {
    await attempt.apply({ type: "identified", supervisorMigrationId: migrationId });
    if (attempt.record.isCancelRequested) await cancelThere(attempt);
  }
  await attempt.apply({ type: "progress", progress });
}

async function conclude(attempt: Attempt, result: ResultView): Promise<void> {
  const { outcome, runsOn, freezeMs, bytesSent, timingsMs, failure } = result;
  if (outcome === "moved") {
    const endpoint = result.endpoint || (attempt.record.arrival?.peerAddress ?? "");
    const handover = { endpoint, freezeMs, bytesSent, timingsMs };
    return attempt.apply({ type: "moved", handover });
  }
  if (runsOn === "source") return staysHere(attempt, failure);
  await observe(attempt, failure);
}

/** The source outer container has said that the service runs there. */
async function staysHere(attempt: Attempt, failure: UmsError | undefined): Promise<void> {
  const { record } = attempt;
  if (attempt.stopReason !== undefined) {
    return attempt.apply({ type: "failed", problem: toProblem(attempt.stopReason) });
  }
  if (record.isCancelRequested) return attempt.apply({ type: "cancelled" });
  const message = "the migration ended without success; the service runs at the source";
  const problem = toProblem(failure ?? new UmsError("ERR_CANCELLED", message));
  await attempt.apply({ type: "failed", problem });
}

/**
 * Asks until the outcome is known. A source that does not answer decides nothing: only the
 * destination's word that the service runs there ends the wait then.
 */
async function observe(attempt: Attempt, failure: UmsError | undefined): Promise<void> {
  const { deps, closing } = attempt;
  for (let failures = 0; ; ) {
    const verdict = await ask(attempt);
    failures = verdict === undefined ? failures + 1 : 0;
    switch (verdict) {
      case "runs-here":
        return staysHere(attempt, failure);
      case "moved":
        return attempt.apply({ type: "moved", handover: knownHandover(attempt) });
      case "foreign":
        return staysHere(attempt, foreign());
      case undefined:
        if (await runsThere(attempt)) {
          return attempt.apply({ type: "moved", handover: knownHandover(attempt) });
        }
        break;
      default:
        if (attempt.record.isCancelRequested) await cancelThere(attempt);
    }
    const { watchMs, backoff } = deps.waits;
    await sleep(failures === 0 ? watchMs : backoffMs(failures, backoff), closing);
  }
}

/** Undefined: the source does not answer. */
async function ask(attempt: Attempt): Promise<Verdict | undefined> {
  const { record, deps } = attempt;
  const peerAddress = record.arrival?.peerAddress ?? "";
  const { supervisorMigrationId } = record;
  try {
    const status = await deps.outer.status(record.service?.peerAddress ?? "");
    const verdict = judge(status, { supervisorMigrationId, peerAddress });
    if (verdict === "moving" || verdict === "handing-over" || verdict === "moved") {
      await attempt.apply({ type: "identified", supervisorMigrationId: status.migrationId });
    }
    return verdict;
  } catch (thrown) {
    const { code, message } = UmsError.from(thrown);
    deps.log.warn({ migrationId: record.id, code }, `the source does not answer: ${message}`);
    return undefined;
  }
}

async function runsThere({ record, deps, peer }: Attempt): Promise<boolean> {
  try {
    await peer().keepArrival(record.id);
    return true;
  } catch (thrown) {
    const { code } = UmsError.from(thrown);
    deps.log.warn({ migrationId: record.id, code }, "nor does the destination have the service");
    return false;
  }
}

/**
 * Beside the order: its stream may be dead without anybody noticing, and where control messages
 * cannot be blocked they are noticed here. Resolves when the order's answer need not be awaited.
 */
async function watch(attempt: Attempt, signal: AbortSignal): Promise<undefined> {
  const { deps, closing } = attempt;
  const either = AbortSignal.any([signal, closing]);
  try {
    // Twice in a row, so that an answer which is on its way comes first.
    for (let ended = 0; ended < 2; ) {
      await sleep(deps.waits.watchMs, either);
      await stopIfChanged(attempt);
      if (attempt.record.supervisorMigrationId === undefined) continue;
      const verdict = await ask(attempt);
      ended = verdict === "runs-here" || verdict === "moved" ? ended + 1 : 0;
    }
  } catch (thrown) {
    // The order has been answered, or the Coordinator closes and moveService sees that itself.
    if (!either.aborted) throw thrown;
    if (closing.aborted) throw thrown;
  }
  return undefined;
}

async function stopIfChanged(attempt: Attempt): Promise<void> {
  const { guard, deps, record } = attempt;
  if (guard === undefined || attempt.stopReason !== undefined) return;
  try {
    const change = await guard.change();
    if (change === undefined) return;
    const message = `the service was changed while it migrated: ${change}`;
    attempt.stopReason = new UmsError("ERR_REQUEST_CONFLICT", message);
    await cancelThere(attempt);
  } catch (error) {
    deps.log.warn({ err: error, migrationId: record.id }, "changes cannot be looked for now");
  }
}

/** Too late is no failure: the outcome tells. */
export async function cancelThere({
  record,
  deps,
}: Pick<Attempt, "record" | "deps">): Promise<void> {
  const { supervisorMigrationId, service, id } = record;
  if (supervisorMigrationId === undefined || service === undefined) return;
  try {
    await deps.outer.cancel(service.peerAddress, supervisorMigrationId);
  } catch (thrown) {
    const { code, message } = UmsError.from(thrown);
    deps.log.warn({ migrationId: id, code }, `not cancelled: ${message}`);
  }
}

function knownHandover({ record }: Attempt) {
  return {
    endpoint: record.arrival?.peerAddress ?? "",
    bytesSent: record.progress?.bytesSent ?? 0,
    timingsMs: {},
  };
}

function foreign(): UmsError {
  return new UmsError(
    "ERR_MIGRATION_IN_PROGRESS",
    "another migration has the service; this one did not move it",
    { hint: "another Coordinator or `ums migrate` may have moved it" },
  );
}
