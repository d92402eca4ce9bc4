/**
 * Drives the destination's half of a migration: answers the source's calls, journals what the
 * reducer decides, and does the effects.
 *
 * Invariants:
 * - one migration at a time; a call of another one is refused and changes nothing;
 * - events are handled one at a time; a record is durable before its effects start and before an
 *   answer leaves (rules 4 and 7);
 * - effects run one after another, and what is discarded is not being worked on any more;
 * - every call may come again: it is answered from the state (rule 9).
 */
import type { Duplex } from "node:stream";
import type { StreamKind } from "../approach/contract.js";
import { UmsError } from "../errors.js";
import { within } from "../lib/deadline.js";
import { createSequence } from "../lib/sequence.js";
import type { Decision, Ref } from "../peer/client.js";
import type { Flow } from "../spec.js";
import type { Admission } from "./admission.js";
import { checkFenced, untilDecided } from "./ask-source.js";
import {
  answerFromJournal,
  checkDigest,
  checkExpected,
  checkHeld,
  checkOwner,
  notPrepared,
  refusal,
  turnedAway,
  unknownMigration,
} from "./destination-answers.js";
import type {
  Arrival,
  DestinationRunner,
  DestinationRunnerDeps,
  Room,
} from "./destination-role.js";
import {
  type DestinationEffect,
  type DestinationEvent,
  type DestinationState,
  hasRefused,
  isPrepared,
  isReceiving,
  reduceDestination,
} from "./destination-state.js";
import type { Fence } from "./fence.js";
import { createLease, type Lease } from "./lease.js";
import { journalDataOf, type Origin, originFrom } from "./origin.js";
import { findRoom } from "./room.js";
import { orAborted, untilDone, untilGivenUp } from "./waits.js";

/** Below the source's own deadline of a call, so that it is told rather than left alone. */
const settleTimeoutMs = 10_000;

export function createDestinationRunner(
  deps: DestinationRunnerDeps,
  initial: DestinationState,
): DestinationRunner {
  return new Runner(deps, initial);
}

class Runner implements DestinationRunner {
  private handling: Promise<void> = Promise.resolve();
  private effects: Promise<void> = Promise.resolve();
  private readonly reserving = createSequence();
  /** What the side is doing for the migration; settles, never rejects. */
  private work: Promise<unknown> = Promise.resolve();
  private preparing: Promise<Decision> | undefined;
  private origin: Origin | undefined;
  /** What the source was answered, for when it asks again. */
  private room: Room | undefined;
  private failure: UmsError | undefined;
  private containerId: string | undefined;
  private timings: Record<string, number> = {};
  /** Aborted when the migration has ended badly: waits for its data end. */
  private ended = new AbortController();
  private readonly lease: Lease;
  private readonly closing = new AbortController();

  constructor(
    private readonly deps: DestinationRunnerDeps,
    public state: DestinationState,
  ) {
    this.lease = createLease(deps.leaseMs, (expired) => {
      this.refuse(expired).catch((error: unknown) => {
        deps.log.error({ err: error }, "the end of the lease could not be recorded");
      });
    });
  }

  checkSource(migrationId: string, sourceName: string): void {
    checkOwner(this.deps.journal, this.origin, migrationId, sourceName);
  }

  async reserve(arrival: Arrival): Promise<Room> {
    return await this.admitAndReserve(arrival).catch((thrown: unknown) => {
      throw turnedAway(this.deps.log, arrival, thrown);
    });
  }

  async provision(ref: Ref): Promise<{ keptMounts: string[] }> {
    const startedMs = performance.now();
    const provisioned = await this.orRefuse(ref, async () => {
      await this.deps.faults.at("destination.do.provision");
      return this.deps.side.provision();
    });
    this.containerId = provisioned.containerId;
    this.timing("provision", startedMs);
    return { keptMounts: provisioned.keptMounts };
  }

  arm(ref: Ref): Promise<void> {
    return this.orRefuse(ref, async () => {
      await this.deps.faults.at("destination.do.arm");
      await this.deps.side.arm();
    });
  }

  async accept(
    migrationId: string,
    kind: StreamKind,
    name: string,
    stream: Duplex,
    source: string,
  ): Promise<void> {
    checkExpected(this.state, this.deps.journal, migrationId, kind);
    // An open stream is the best sign of a source; TCP keep-alive ends one whose source is gone.
    const release = this.lease.hold();
    try {
      await this.deps.side.accept(kind, name, stream, source);
    } finally {
      release();
    }
  }

  async prepare(ref: Ref, flows: Flow[], digest: string): Promise<Decision> {
    if (!this.isCurrent(ref)) throw unknownMigration(ref.migrationId);
    if (hasRefused(this.state.phase)) return this.refusedAnswer();
    if (isPrepared(this.state.phase)) return this.preparedAnswer();
    this.preparing ??= this.exclusively(() => this.doPrepare(flows, digest));
    return this.preparing;
  }

  async commit(ref: Ref, digest: string): Promise<Decision> {
    if (!this.isCurrent(ref)) return answerFromJournal(this.deps.journal, ref, digest);
    const startedMs = performance.now();
    await this.dispatch({ type: "commit", ...ref, digest });
    if (hasRefused(this.state.phase)) return this.refusedAnswer();
    if (this.state.phase === "OWNER" || this.state.phase === "RUNNING") {
      await within(settleTimeoutMs, "the thaw of the service", this.settled());
    }
    if (this.state.phase === "RUNNING") {
      const timingsMs = { ...this.timings, thaw: performance.now() - startedMs };
      return { digest, timingsMs };
    }
    throw new UmsError("ERR_EPOCH_STALE", `a commit does not fit ${this.state.phase} here`);
  }

  async abort(ref: Ref, reason: string): Promise<void> {
    await this.dispatch({ type: "abort", migrationId: ref.migrationId, reason });
  }

  async takeOver(fence: Fence): Promise<void> {
    const { origin, deps } = this;
    if (this.state.phase !== "PREPARED") throw notPrepared(this.state);
    if (origin !== undefined) {
      await checkFenced(() => deps.askSource(origin.source, origin.ref), this.listener(origin.ref));
    }
    await this.dispatch({ type: "fenced", fence });
    if (hasRefused(this.state.phase)) throw notPrepared(this.state);
    await within(settleTimeoutMs, "the thaw of the service", this.settled());
  }

  async recover(): Promise<void> {
    const { data } = this.deps.journal.lastOf("destination") ?? {};
    this.containerId = data?.containerId;
    this.origin = originFrom(this.state, data);
    const treeHeld = this.state.phase === "PREPARED" && (await this.deps.side.isHeld());
    await this.dispatch({ type: "restarted", treeHeld });
  }

  async stop(): Promise<void> {
    await this.refuse(new UmsError("ERR_CANCELLED", "the destination was asked to stop"));
    await within(settleTimeoutMs, "the end of what was received", this.settled());
  }

  close(): void {
    this.closing.abort();
    this.lease.end();
  }

  /** @throws ERR_PEER_IDENTITY when the migration is another source's */
  private answered({ ref, source }: Arrival): Room | undefined {
    this.checkSource(ref.migrationId, source.name);
    if (!this.isCurrent(ref) || !isReceiving(this.state.phase)) return undefined;
    this.lease.renew();
    return this.room;
  }

  private async admitAndReserve(arrival: Arrival): Promise<Room> {
    const answered = this.answered(arrival);
    if (answered !== undefined) return answered;
    const admission = await this.deps.admit(arrival);
    // One after another: two sources may ask at once, and the side keeps what it was asked last.
    return this.reserving(() => this.answered(arrival) ?? this.doReserve(arrival, admission));
  }

  private async doReserve(arrival: Arrival, admission: Admission): Promise<Room> {
    await within(settleTimeoutMs, "cleaning up after the last migration", this.settled());
    const room = await findRoom(this.deps, this.state, arrival, admission);
    const { ref, source } = arrival;
    this.forget();
    this.origin = { ref, source, tokenId: admission.tokenId };
    await this.dispatch({ type: "reserve", ...ref, isKnown: false });
    await this.dispatch({ type: "receive" });
    this.lease.start();
    this.room = room;
    return room;
  }

  private async doPrepare(flows: Flow[], digest: string): Promise<Decision> {
    const { side, faults } = this.deps;
    try {
      const startedMs = performance.now();
      await faults.at("destination.do.verify");
      const verified = await orAborted(side.verified(), this.ended.signal);
      checkDigest(digest, verified);
      await this.dispatch({ type: "verified", digest });
      this.timing("verify", startedMs);
      await this.dispatch({ type: "restore" });
      if (this.state.phase !== "RESTORING") return this.refusedAnswer();
      await faults.at("destination.do.restore");
      const restoreMs = performance.now();
      await side.restore(flows);
      this.timing("restore", restoreMs);
      checkHeld(await side.isHeld());
      await this.dispatch({ type: "held" });
    } catch (thrown) {
      await this.refuse(thrown);
    }
    return hasRefused(this.state.phase) ? this.refusedAnswer() : this.preparedAnswer();
  }

  /** Work of the side for the current migration; a failure of it ends the migration. */
  private async orRefuse<T>(ref: Ref, work: () => Promise<T>): Promise<T> {
    this.checkCurrent(ref);
    try {
      const result = await this.exclusively(work);
      this.checkCurrent(ref);
      return result;
    } catch (thrown) {
      if (this.isCurrent(ref)) await this.refuse(thrown);
      throw thrown;
    } finally {
      this.lease.renew();
    }
  }

  private exclusively<T>(work: () => Promise<T>): Promise<T> {
    const next = this.work.then(work);
    this.work = next.catch(() => undefined);
    return next;
  }

  private async refuse(thrown: unknown): Promise<void> {
    if (!isReceiving(this.state.phase)) return;
    const error = UmsError.from(thrown);
    this.failure ??= error;
    this.deps.log.warn({ code: error.code, ...error.details }, error.message);
    await this.dispatch({ type: "failed", reason: error.message });
  }

  private dispatch(event: DestinationEvent): Promise<void> {
    const next = this.handling.then(() => this.handle(event));
    // A later event must be handled even if this one's record could not be written.
    this.handling = next.catch(() => undefined);
    return next;
  }

  private async handle(event: DestinationEvent): Promise<void> {
    const before = this.state.phase;
    const step = reduceDestination(this.state, event);
    if (step.journal) {
      await this.deps.faults.at(`destination.record.${step.state.phase}`);
      await this.deps.journal.append({
        role: "destination",
        state: step.state,
        data: journalDataOf(this.origin, this.containerId),
      });
    }
    this.state = step.state;
    const { phase, migrationId, epoch, reason } = step.state;
    if (phase !== before) {
      this.deps.log.info({ phase, migrationId, epoch, reason }, "destination state");
      // From PREPARED on no timer decides anything.
      if (phase === "PREPARED" || !isReceiving(phase)) this.lease.end();
      if (hasRefused(phase)) this.ended.abort();
    }
    for (const effect of step.effects) {
      // Only closing makes one reject; the next supervisor finds in the journal what is left to do.
      this.effects = this.effects.then(() => this.perform(effect)).catch(() => undefined);
    }
  }

  /** An effect that fails is repeated until closing, or logged where it may stay undone. */
  private async perform(effect: DestinationEffect): Promise<void> {
    const { side, log, onOwned, faults } = this.deps;
    const repeat = { log, signal: this.closing.signal };
    switch (effect) {
      case "query":
        return this.watchSource();
      case "thaw": {
        const record = () => this.dispatch({ type: "thawed" });
        const thaw = async () => {
          await faults.at("destination.do.thaw");
          await side.thaw();
        };
        await untilDone("the service could not be thawed yet", thaw, repeat);
        return untilDone("the thaw could not be recorded yet", record, repeat);
      }
      case "own": {
        const own = async () => {
          await faults.at("destination.do.own");
          await onOwned(this.state.epoch ?? 0);
        };
        return untilDone("the service could not be taken over yet", own, repeat);
      }
      case "discard":
        await this.work;
        return untilGivenUp(
          "what was received could not be deleted",
          () => faults.at("destination.do.discard").then(() => side.discard()),
          repeat,
        );
    }
  }

  /** While PREPARED nothing here decides: the source is asked until it says what it did. */
  private watchSource(): void {
    const { origin } = this;
    if (origin === undefined) return;
    const { log, askSource } = this.deps;
    const { ref, source } = origin;
    untilDecided(() => askSource(source, ref), {
      signal: this.closing.signal,
      isOpen: () => this.isCurrent(ref) && this.state.phase === "PREPARED",
      ...this.listener(ref),
      onError: (error) => log.warn({ err: error, ...ref }, "the source could not be asked"),
    });
  }

  private listener(ref: Ref) {
    return {
      onAbort: () => this.abort(ref, "the source aborted"),
      onCommit: (digest: string) => this.dispatch({ type: "commit", ...ref, digest }),
    };
  }

  private forget(): void {
    this.failure = undefined;
    this.room = undefined;
    this.preparing = undefined;
    this.containerId = undefined;
    this.timings = {};
    this.ended = new AbortController();
  }

  private isCurrent(ref: Ref): boolean {
    return this.state.migrationId === ref.migrationId && this.state.epoch === ref.epoch;
  }

  private checkCurrent(ref: Ref): void {
    if (!this.isCurrent(ref)) throw unknownMigration(ref.migrationId);
    if (isReceiving(this.state.phase)) return;
    throw this.failure ?? unknownMigration(ref.migrationId);
  }

  /** Resolves when all effects are done, those that came of others too. */
  private async settled(): Promise<void> {
    for (let seen: Promise<void> | undefined; seen !== this.effects; ) {
      seen = this.effects;
      await seen;
    }
  }

  private preparedAnswer(): Decision {
    return { digest: this.state.digest ?? "", timingsMs: { ...this.timings } };
  }

  private refusedAnswer(): Decision {
    const timingsMs = { ...this.timings };
    if (this.failure !== undefined) return { refused: this.failure, timingsMs };
    return { ...refusal(this.state.reason), timingsMs };
  }

  private timing(step: string, startedMs: number): void {
    this.timings[step] = performance.now() - startedMs;
  }
}
