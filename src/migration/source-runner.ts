/**
 * Drives the source's half of a migration: journals what the reducer decides, then does the
 * effects.
 *
 * Invariants:
 * - events are handled one at a time; a record is durable before its effects start (rule 4);
 * - effects of one migration run one after another: the thaw after a failed dump waits until the
 *   dump has ended; the next migration waits for no message of the last one;
 * - an end that cannot be recorded is tried again: no failure of the disk leaves a service frozen;
 * - after COMMITTED nothing but the destination's answer ends the wait (rule 8).
 */
import { randomUUID } from "node:crypto";
import { UmsError } from "../errors.js";
import { within } from "../lib/deadline.js";
import type { Fence } from "./fence.js";
import type { Journal, JournalData } from "./journal.js";
import { createReport, type MigrationReport } from "./report.js";
import {
  type AttemptDeps,
  type AttemptOptions,
  type DestinationAddress,
  SourceAttempt,
} from "./source-attempt.js";
import {
  isBusy,
  isCommitted,
  isUndecided,
  reduceSource,
  type SourceEffect,
  type SourceEvent,
  type SourceState,
} from "./source-state.js";
import { untilDone } from "./waits.js";

const thawTimeoutMs = 10_000;

export interface SourceRunnerDeps extends Omit<AttemptDeps, "closing"> {
  journal: Journal;
  /** Whether the service may go to a peer of this name. */
  isDestinationAllowed(name: string): boolean;
  /** Called after every change of state. */
  onState(state: SourceState): void;
}

export interface MigrateOptions {
  destination: DestinationAddress;
  /** Longest freeze accepted before COMMITTED, milliseconds. */
  downtimeBudgetMs: number;
  /** The destination's leave; left out: its allow-list decides. */
  token?: string;
}

export interface SourceRunner {
  readonly state: SourceState;
  /** The migration under way or the newest one. */
  readonly report: MigrationReport | undefined;
  /** Where it goes or went. */
  readonly destination: DestinationAddress | undefined;
  /** Starts a migration; the report tells its end. @throws ERR_MIGRATION_IN_PROGRESS */
  migrate(options: MigrateOptions): Promise<MigrationReport>;
  /**
   * Stops one that is not committed; returns its id.
   * @throws ERR_MIGRATION_NOT_FOUND also when it was committed in the same moment
   */
  cancel(reason: string): Promise<string>;
  /**
   * An operator's word that the destination can never run: the service thaws here. The destination
   * is asked once more before.
   * @throws ERR_NOT_FENCED when it answers; ERR_MIGRATION_NOT_FOUND when nothing is in doubt here;
   *   ERR_DEADLINE when it is rolled back but could not be thawed yet
   */
  rollBack(fence: Fence): Promise<void>;
  /** After a restart of the supervisor: finishes or aborts what the journal shows. */
  recover(): Promise<void>;
  /** Ends the waits and leaves everything as it is, for the next supervisor. */
  close(): void;
}

export function createSourceRunner(deps: SourceRunnerDeps, initial: SourceState): SourceRunner {
  return new Runner(deps, initial);
}

class Runner implements SourceRunner {
  private handling: Promise<void> = Promise.resolve();
  private attempt: SourceAttempt | undefined;
  private readonly closing = new AbortController();
  /** A second request may come before the first one's record is on disk. */
  private isStarting = false;

  constructor(
    private readonly deps: SourceRunnerDeps,
    public state: SourceState,
  ) {}

  get report(): MigrationReport | undefined {
    return this.attempt?.options.report;
  }

  get destination(): DestinationAddress | undefined {
    return this.attempt?.options.destination;
  }

  async migrate(options: MigrateOptions): Promise<MigrationReport> {
    const { downtimeBudgetMs, token = "" } = options;
    const isAllowed = (name: string) => this.deps.isDestinationAllowed(name);
    const destination = { ...options.destination, isAllowed };
    this.checkFree();
    this.isStarting = true;
    try {
      const migrationId = randomUUID();
      const ref = { migrationId, epoch: this.state.issuedEpoch + 1 };
      // A copy of our own: what the destination says of itself is added.
      this.attempt = this.createAttempt({
        ref,
        destination: { ...destination },
        downtimeBudgetMs,
        token,
        digest: undefined,
      });
      const { report } = this.attempt.options;
      await this.dispatch({ type: "begin", migrationId });
      return report;
    } finally {
      this.isStarting = false;
    }
  }

  async cancel(reason: string): Promise<string> {
    const { attempt } = this;
    const { migrationId, phase } = this.state;
    if (attempt !== undefined && migrationId !== undefined && isUndecided(phase)) {
      await attempt.fail(new UmsError("ERR_CANCELLED", reason));
      if (!isCommitted(this.state.phase)) return migrationId;
    }
    throw new UmsError("ERR_MIGRATION_NOT_FOUND", "there is no migration to cancel", {
      ...(isCommitted(this.state.phase) ? { hint: "it is committed; see `ums status`" } : {}),
    });
  }

  async rollBack(fence: Fence): Promise<void> {
    const { attempt } = this;
    if (attempt === undefined || this.state.phase !== "COMMITTED") throw this.notInDoubt();
    try {
      await attempt.stopCommits();
      await this.dispatch({ type: "fenced", fence });
    } catch (error) {
      attempt.resumeCommits();
      if (isCommitted(this.state.phase)) {
        attempt.enqueue(() => this.perform(attempt, "send-commit"));
      }
      throw error;
    }
    if (this.state.fence !== fence) throw this.notInDoubt();
    await within(thawTimeoutMs, "the thaw of the service", attempt.options.report.ended());
  }

  async recover(): Promise<void> {
    const { migrationId, issuedEpoch, digest } = this.state;
    if (migrationId !== undefined) {
      const data = this.deps.journal.lastOf("source")?.data;
      const destination = data?.peer === undefined ? undefined : addressOf(data, data.peer);
      const ref = { migrationId, epoch: issuedEpoch };
      const options = { ref, destination, downtimeBudgetMs: 0, token: "", digest };
      this.attempt = this.createAttempt(options);
      this.attempt.options.report.enter(this.state.phase);
    }
    const isTakenOver =
      this.state.phase === "FROZEN" && (await this.attempt?.isTakenOver()) === true;
    await this.dispatch({ type: "restarted", isTakenOver });
  }

  close(): void {
    this.closing.abort();
    this.attempt?.cancel();
  }

  private checkFree(): void {
    const { phase, migrationId } = this.state;
    if (isBusy(phase) || this.isStarting) {
      throw new UmsError("ERR_MIGRATION_IN_PROGRESS", `a migration is under way (${phase})`, {
        hint: "wait for it, or `ums cancel` it",
        details: { migrationId, phase },
      });
    }
    if (phase === "RETIRED") {
      throw new UmsError("ERR_SERVICE_NOT_RUNNING", "the service has left this outer container");
    }
  }

  private notInDoubt(): UmsError {
    const { phase, migrationId } = this.state;
    return new UmsError("ERR_MIGRATION_NOT_FOUND", `there is nothing to roll back (${phase})`, {
      hint: isUndecided(phase)
        ? "the migration is not committed: `ums cancel` ends it"
        : "only a migration that is COMMITTED and not confirmed can be; see `ums status`",
      details: { migrationId, phase },
    });
  }

  private createAttempt(options: Omit<AttemptOptions, "report" | "dispatch">): SourceAttempt {
    const { migrationId } = options.ref;
    const { signal: closing } = this.closing;
    return new SourceAttempt(
      { ...this.deps, closing },
      {
        ...options,
        report: createReport(migrationId),
        // What an older attempt still has to say must not move a newer one.
        dispatch: async (event) => {
          if (this.state.migrationId === migrationId) await this.dispatch(event);
        },
      },
    );
  }

  private dispatch(event: SourceEvent): Promise<void> {
    const next = this.handling.then(() => this.handle(event));
    // A later event must be handled even if this one's record could not be written.
    this.handling = next.catch(() => undefined);
    return next;
  }

  private async handle(event: SourceEvent): Promise<void> {
    const before = this.state.phase;
    const step = reduceSource(this.state, event);
    const { attempt } = this;
    if (step.journal) {
      await this.deps.faults.at(`source.record.${step.state.phase}`);
      await this.deps.journal.append({ role: "source", state: step.state, data: this.data() });
    }
    this.state = step.state;
    if (step.state.phase !== before) this.announce();
    if (attempt === undefined) return;
    for (const effect of step.effects) attempt.enqueue(() => this.perform(attempt, effect));
  }

  private announce(): void {
    const { phase, migrationId, epoch, issuedEpoch, reason } = this.state;
    this.deps.log.info({ phase, migrationId, epoch, issuedEpoch, reason }, "source state");
    this.deps.onState(this.state);
    if (this.attempt === undefined) return;
    const { report } = this.attempt.options;
    report.enter(phase);
    if (phase === "ABORTED" || phase === "ROLLED_BACK") this.attempt.cancel();
    if (phase === "DONE") report.end({ outcome: "moved", runsOn: "destination" });
    if (phase === "ACTIVE") {
      const failure = this.attempt.failure ?? new UmsError("ERR_CANCELLED", reason ?? "aborted");
      report.end({ outcome: "aborted", runsOn: "source", failure });
    }
  }

  /** Never rejects. */
  private async perform(attempt: SourceAttempt, effect: SourceEffect): Promise<void> {
    const { log } = this.deps;
    const { signal } = this.closing;
    try {
      await attempt.perform(effect);
    } catch (thrown) {
      if (signal.aborted) return;
      const error = UmsError.from(thrown);
      log.warn({ effect, code: error.code, ...error.details }, error.message);
      const record = () => this.afterFailure(attempt, effect, error);
      await untilDone("the failure could not be recorded yet", record, { log, signal }).catch(
        () => undefined, // Closing: the next supervisor finds the journal undecided, and aborts.
      );
    }
  }

  /** What happened must be recorded again where the record was what failed, or nothing goes on. */
  private async afterFailure(attempt: SourceAttempt, effect: SourceEffect, error: UmsError) {
    await attempt.fail(error);
    if (effect === "thaw") await attempt.options.dispatch({ type: "thawed" });
    if (effect === "kill") await attempt.options.dispatch({ type: "killed" });
  }

  private data(): JournalData {
    const { destination } = this;
    if (destination === undefined) return {};
    const { address: peer, name: peerName, publicEndpoint } = destination;
    return {
      peer,
      ...(peerName === undefined ? {} : { peerName }),
      ...(publicEndpoint === undefined ? {} : { publicEndpoint }),
    };
  }
}

function addressOf({ peerName, publicEndpoint }: JournalData, address: string): DestinationAddress {
  return {
    address,
    name: peerName,
    ...(publicEndpoint === undefined ? {} : { publicEndpoint }),
  };
}
