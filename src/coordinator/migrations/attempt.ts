/**
 * Does the work of each state of one migration, until its record is settled.
 *
 * Every step may be done again after a crash: all that it asks of others is keyed by the migration's
 * id. What is never repeated is the order to migrate: a Coordinator that finds a record in
 * `migrating` asks the two ends what became of it.
 */
import { UmsError } from "../../errors.js";
import { sleep } from "../../lib/deadline.js";
import type { Logger } from "../../lib/log.js";
import type { Guard, Orchestrator } from "../../orchestrators/contract.js";
import { type OuterContainers, peerAddressOf } from "../outer.js";
import type { ArrivalOrder, ArrivalView, PeerCoordinator, PeerCoordinators } from "../peers.js";
import { persist } from "../persist.js";
import { chooseApproach, determine, incompatibility } from "../plan/plan.js";
import type { Survey } from "../plan/survey.js";
import { fromProblem, toProblem } from "../problem.js";
import { cleanSource } from "./clean.js";
import { moveService } from "./move.js";
import type { MigrationRecord } from "./record.js";
import { destinationSpec } from "./request.js";
import { isOpen, type MigrationEvent } from "./state.js";

export interface AttemptDeps {
  /** Name of this system. */
  system: string;
  orchestrator: Orchestrator;
  outer: OuterContainers;
  peers: PeerCoordinators;
  survey: Survey;
  log: Logger;
  waits: Waits;
  /** Migrations other than this one whose guards must stay. */
  otherGuards(id: string): string[];
}

/** All in milliseconds. */
export interface Waits {
  /** Between two questions to an arrival. */
  arrivalPollMs: number;
  arrivalTimeoutMs: number;
  /** How long a peer may be away before the hand-over. */
  awayMs: number;
  /** Between two looks at a migration under way. */
  watchMs: number;
  /** How long the destination may take to say that the service runs, before the source is kept. */
  confirmMs: number;
  /** How long the source may take to say that it has retired, before it is kept. */
  retireMs: number;
  /** How long a peer is asked to remove an arrival; it removes a forgotten one by itself. */
  undoMs: number;
  backoff: { initialMs: number; maxMs: number };
}

export const defaultWaits: Waits = {
  arrivalPollMs: 1_000,
  arrivalTimeoutMs: 20 * 60_000,
  awayMs: 60_000,
  watchMs: 2_000,
  confirmMs: 10 * 60_000,
  retireMs: 30 * 60_000,
  undoMs: 30 * 60_000,
  backoff: { initialMs: 500, maxMs: 30_000 },
};

/** What a step sees of the migration. */
export interface Attempt {
  readonly deps: AttemptDeps;
  readonly record: MigrationRecord;
  /** Undefined after a restart of the Coordinator. */
  guard: Guard | undefined;
  /** True once: this process has just recorded that it is going to order the migration. */
  mayOrder: boolean;
  /** Why the Coordinator itself stops the migration. */
  stopReason: UmsError | undefined;
  /** Ends with the Coordinator. */
  readonly closing: AbortSignal;
  /** Ends the work before the hand-over. */
  readonly cancel: AbortSignal;
  peer(): PeerCoordinator;
  apply(event: MigrationEvent): Promise<void>;
}

/** Works until the record is settled. @throws ERR_CANCELLED when the Coordinator closes */
export async function runAttempt(attempt: Attempt): Promise<void> {
  while (!attempt.record.isSettled) {
    attempt.closing.throwIfAborted();
    try {
      await step(attempt);
    } catch (thrown) {
      attempt.closing.throwIfAborted();
      await failed(attempt, UmsError.from(thrown));
    }
  }
}

async function failed(attempt: Attempt, error: UmsError): Promise<void> {
  const { record, deps } = attempt;
  const { id, state, isCancelRequested } = record;
  if (!isOpen(state) || state === "migrating") {
    // These steps bring every failure they know to an end themselves: this is one of ours.
    deps.log.error({ err: error, migrationId: id, state }, "a step failed; it is tried again");
    return sleep(deps.waits.backoff.maxMs, attempt.closing);
  }
  if (isCancelRequested) return attempt.apply({ type: "cancelled" });
  deps.log.warn({ migrationId: id, state, code: error.code }, error.message);
  await attempt.apply({ type: "failed", problem: toProblem(error) });
}

function step(attempt: Attempt): Promise<void> {
  switch (attempt.record.state) {
    case "requested":
      return plan(attempt);
    case "planned":
      return attempt.apply({ type: "arranging" });
    case "arranging":
      return arrange(attempt);
    case "guarded":
      return takeGuard(attempt);
    case "migrating":
      return moveService(attempt);
    case "moved":
      return confirm(attempt);
    default:
      return cleanUp(attempt);
  }
}

async function plan(attempt: Attempt): Promise<void> {
  const { record, deps, cancel } = attempt;
  const { request } = record;
  const workload = await persist(() => deps.orchestrator.read(record.workloadId), {
    forMs: deps.waits.awayMs,
    signal: cancel,
    backoff: deps.waits.backoff,
    // An engine that starts again beside this Coordinator is there in a moment.
    isRepeated: ({ code }) => code === "ERR_ORCHESTRATOR_UNAVAILABLE",
  });
  const input = await deps.survey.inputFor(workload, request.destination.system);
  const chosen = chooseApproach(determine(input), input, request.approach);
  if (workload.endpoint === undefined) {
    throw new UmsError("ERR_PEER_UNREACHABLE", `no address of ${request.service} is known`);
  }
  const peerAddress = peerAddressOf(workload.endpoint);
  await attempt.apply({
    type: "planned",
    service: { peerAddress, peerName: input.view?.peerName ?? "" },
    spec: workload.spec,
    approach: chosen.approach,
    notes: chosen.reasons,
  });
}

async function arrange(attempt: Attempt): Promise<void> {
  const { record, deps, cancel: signal } = attempt;
  const { waits } = deps;
  const { service, spec, id } = record;
  if (service === undefined || spec === undefined) throw new TypeError("arranged without a plan");
  const { facts } = await deps.outer.facts(service.peerAddress);
  const order: ArrivalOrder = {
    spec: destinationSpec(spec, record.request),
    service: spec.name,
    from: { system: deps.system, peerName: service.peerName },
    facts,
  };
  const away = { forMs: waits.awayMs, signal, backoff: waits.backoff };
  const put = () => attempt.peer().putArrival(id, order);
  let view = await persist(put, away);
  const endMs = performance.now() + waits.arrivalTimeoutMs;
  while (view.state === "creating") {
    if (performance.now() > endMs) {
      throw new UmsError("ERR_DEADLINE", "the destination was not ready in time");
    }
    await sleep(waits.arrivalPollMs, signal);
    view = await persist(() => attempt.peer().arrival(id), away);
  }
  const { peerAddress, peerName } = readyArrival(view);
  const difference =
    view.facts === undefined ? undefined : incompatibility(facts, view.facts, spec.name);
  if (difference !== undefined) throw difference;
  const { untranslatable } = view;
  await attempt.apply({ type: "arrived", arrival: { peerAddress, peerName }, untranslatable });
}

function readyArrival({ state, endpoint, peerName, problem }: ArrivalView) {
  if (state === "ready" && endpoint !== undefined) {
    return { peerAddress: endpoint, peerName: peerName ?? "" };
  }
  throw fromProblem(problem) ?? new UmsError("ERR_INTERNAL", "the destination failed without why");
}

/** The last look before the order: the service must be as it was planned. */
async function takeGuard(attempt: Attempt): Promise<void> {
  const { record, deps, cancel: signal } = attempt;
  const address = record.service?.peerAddress ?? "";
  attempt.guard = await deps.orchestrator.guard(record.workloadId, record.id);
  signal.throwIfAborted();
  const { state, here, migrationId } = await deps.outer.status(address);
  if (state !== "ACTIVE" || here !== "running") {
    throw new UmsError("ERR_MIGRATION_IN_PROGRESS", `the service is not free to move (${state})`, {
      hint: "another Coordinator or `ums migrate` may be moving it",
      details: { migrationId },
    });
  }
  const change = await attempt.guard.change();
  if (change !== undefined) {
    throw new UmsError("ERR_REQUEST_CONFLICT", `the service was changed meanwhile: ${change}`);
  }
  signal.throwIfAborted();
  await attempt.apply({ type: "guarded" });
  attempt.mayOrder = true;
}

/** The service has moved; nothing here may fail the migration any more. */
async function confirm(attempt: Attempt): Promise<void> {
  const { record, deps, closing: signal } = attempt;
  const { waits, log } = deps;
  try {
    await persist(() => attempt.peer().keepArrival(record.id), {
      forMs: waits.confirmMs,
      signal,
      backoff: waits.backoff,
      isRepeated: () => true,
    });
    await attempt.apply({ type: "kept", isConfirmed: true });
  } catch (thrown) {
    signal.throwIfAborted();
    const { code, message } = UmsError.from(thrown);
    log.error({ migrationId: record.id, code }, message);
    const note = `The destination did not confirm that the service runs there: ${message}.`;
    await attempt.apply({ type: "noted", note });
    await attempt.apply({ type: "kept", isConfirmed: false });
  }
}

async function cleanUp(attempt: Attempt): Promise<void> {
  const { record } = attempt;
  if (record.state === "cleaning") {
    await noteChange(attempt);
    await cleanSource(attempt);
    await releaseGuard(attempt);
  } else {
    await releaseGuard(attempt);
    await removeArrival(attempt);
  }
  await attempt.apply({ type: "cleaned" });
}

async function noteChange({ guard, apply, deps }: Attempt): Promise<void> {
  try {
    const change = await guard?.change();
    if (change === undefined) return;
    await apply({ type: "noted", note: `While it migrated, somebody did this to it: ${change}.` });
  } catch (error) {
    deps.log.warn({ err: error }, "what was done to the service meanwhile is not known");
  }
}

/** Without a handle, after a restart: everything that is not another migration's. */
async function releaseGuard(attempt: Attempt): Promise<void> {
  const { guard, deps, record, closing: signal } = attempt;
  const release = () =>
    guard?.release() ?? deps.orchestrator.releaseStale(deps.otherGuards(record.id));
  const isRepeated = () => true;
  const onRepeat = (error: UmsError) =>
    deps.log.warn({ err: error, migrationId: record.id }, "guard not released yet");
  const { backoff } = deps.waits;
  await persist(release, {
    forMs: Number.POSITIVE_INFINITY,
    signal,
    isRepeated,
    onRepeat,
    backoff,
  });
  attempt.guard = undefined;
}

/** Safe: every way to `failed` or `cancelled` has made sure that the service runs at the source. */
async function removeArrival(attempt: Attempt): Promise<void> {
  const { record, deps, closing: signal } = attempt;
  if (!record.history.some(({ state }) => state === "arranging")) return;
  const { undoMs, backoff } = deps.waits;
  try {
    const remove = () => attempt.peer().deleteArrival(record.id);
    await persist(remove, { forMs: undoMs, signal, isRepeated: () => true, backoff });
  } catch (thrown) {
    signal.throwIfAborted();
    const { message } = UmsError.from(thrown);
    const note = `What was made at the destination could not be removed: ${message}. Its Coordinator removes it when nobody has asked for it for 15 minutes.`;
    await attempt.apply({ type: "noted", note });
  }
}
