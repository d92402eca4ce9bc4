/** The source after the hand-over: kept as Frontman, or drained and deleted. */
import { UmsError } from "../../errors.js";
import { sleep } from "../../lib/deadline.js";
import { persist } from "../persist.js";
import type { Attempt } from "./attempt.js";
import { judge } from "./judge.js";

const defaultDrainMs = 30_000;
const drainPollMs = 1_000;

/** Never rejects for a reason of the source's: the service runs elsewhere. */
export async function cleanSource(attempt: Attempt): Promise<void> {
  const { record, deps } = attempt;
  if (record.request.source === "keep") return;
  if (!record.isConfirmed) {
    return note(attempt, "The source was kept: the destination has not confirmed the service.");
  }
  if (!record.isSourceRetired && !(await untilRetired(attempt))) return;
  await drain(attempt);
  const { closing: signal } = attempt;
  const { backoff, retireMs } = deps.waits;
  const remove = () => deps.orchestrator.remove(record.workloadId);
  try {
    await persist(remove, { forMs: retireMs, signal, backoff, isRepeated: () => true });
  } catch (thrown) {
    signal.throwIfAborted();
    await note(attempt, `The source could not be deleted: ${UmsError.from(thrown).message}.`);
  }
}

/** False when it was not said in time, or the workload is not there any more. */
async function untilRetired(attempt: Attempt): Promise<boolean> {
  const { record, deps, closing: signal } = attempt;
  const { retireMs, watchMs } = deps.waits;
  const endMs = performance.now() + retireMs;
  for (;;) {
    if (await isRetired(attempt)) {
      await attempt.apply({ type: "retired" });
      return true;
    }
    if (await hasGone(attempt)) {
      await note(attempt, "The source outer container had gone already.");
      return false;
    }
    if (performance.now() > endMs) break;
    await sleep(watchMs, signal);
  }
  const text = "The source was not deleted: its outer container has not said that it has retired.";
  deps.log.error({ migrationId: record.id, workloadId: record.workloadId }, text);
  await note(attempt, text);
  return false;
}

async function isRetired({ record, deps }: Attempt): Promise<boolean> {
  const { supervisorMigrationId, arrival, service } = record;
  try {
    const status = await deps.outer.status(service?.peerAddress ?? "");
    const peerAddress = arrival?.peerAddress ?? "";
    return judge(status, { supervisorMigrationId, peerAddress }) === "moved";
  } catch (error) {
    deps.log.debug({ err: error, migrationId: record.id }, "the source does not answer");
    return false;
  }
}

async function hasGone({ record, deps }: Attempt): Promise<boolean> {
  try {
    await deps.orchestrator.read(record.workloadId);
    return false;
  } catch (thrown) {
    return UmsError.from(thrown).code === "ERR_SERVICE_NOT_FOUND";
  }
}

/** Until no client comes through the source any more, at most as long as the request allows. */
async function drain(attempt: Attempt): Promise<void> {
  const { record, deps, closing } = attempt;
  const { frontman = "drain", drainMs = defaultDrainMs } = record.request;
  if (frontman === "relay") return;
  const address = record.service?.peerAddress ?? "";
  const endMs = performance.now() + drainMs;
  let reset = frontman === "reset";
  try {
    for (;;) {
      const deadlineMs = Math.max(1, Math.round(endMs - performance.now()));
      const { flows } = await deps.outer.drainRelay(address, { deadlineMs, reset });
      reset = false;
      if (flows === 0 || performance.now() >= endMs) return;
      await sleep(Math.min(drainPollMs, deadlineMs), closing);
    }
  } catch (thrown) {
    closing.throwIfAborted();
    const { message, code } = UmsError.from(thrown);
    deps.log.warn({ migrationId: record.id, code }, `relay not drained: ${message}`);
  }
}

function note(attempt: Attempt, text: string): Promise<void> {
  return attempt.apply({ type: "noted", note: text });
}
