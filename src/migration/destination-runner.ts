/**
 * Drives the destination's half of a migration: answers the source's calls, journals what the
 * reducer decides, and does the effects.
 *
 * Invariants:
 * - one migration at a time; a call of another one is refused and changes nothing;
 * - events are handled one at a time, their effects included: no answer leaves before its record
 *   is durable (rules 4 and 7);
 * - every call may come again: it is answered from the state (rule 9).
 */

import type { Duplex } from "node:stream";
import { checkCompatible } from "../approach/compatible.js";
import type { Departure, DestinationSide, StreamKind } from "../approach/contract.js";
import { UmsError } from "../errors.js";
import { backoffMs } from "../lib/backoff.js";
import { sleep } from "../lib/deadline.js";
import type { Logger } from "../lib/log.js";
import type { Decision, Ref } from "../peer/client.js";
import type { Facts, Flow, ServiceSpec } from "../spec.js";
import {
  type DestinationEvent,
  type DestinationState,
  isReceiving,
  reduceDestination,
} from "./destination-state.js";
import type { Journal } from "./journal.js";

export interface DestinationRunnerDeps {
  side: DestinationSide;
  journal: Journal;
  log: Logger;
  /** Whether a service lives here already, so that none can be received. */
  isOccupied(): boolean;
  /** The service is ours and runs; called once for each migration, also after a restart. */
  onOwned(spec: ServiceSpec | undefined, epoch: number): Promise<void>;
  /** Asks the source what it decided; undefined when it cannot be reached. */
  askSource(source: SourceAddress, ref: Ref): Promise<SourceAnswer | undefined>;
}

export interface SourceAddress {
  /** `host:port` of the source's Migration Interface. */
  address: string;
  name: string | undefined;
}

export interface SourceAnswer {
  decision: string;
  digest: string;
}

export interface Arrival {
  ref: Ref;
  departure: Departure;
  facts: Facts;
  source: SourceAddress;
}

export interface DestinationRunner {
  readonly state: DestinationState;
  /** @throws ERR_PEER_IDENTITY when the migration is another source's */
  checkSource(migrationId: string, sourceName: string): void;
  reserve(arrival: Arrival): Promise<{ facts: Facts; hasImage: boolean; knownLayers: number }>;
  provision(ref: Ref): Promise<{ keptMounts: string[] }>;
  arm(ref: Ref): Promise<void>;
  /** A data stream of the source `name`; throws before anything is read when it is not ours. */
  accept(migrationId: string, kind: StreamKind, name: string, stream: Duplex): Promise<void>;
  prepare(ref: Ref, flows: Flow[], digest: string): Promise<Decision>;
  commit(ref: Ref, digest: string): Promise<Decision>;
  abort(ref: Ref, reason: string): Promise<void>;
  /** After a restart of the supervisor. */
  recover(): Promise<void>;
  close(): void;
}

/** How long a reservation lives without a sign of the source. */
const leaseMs = 10 * 60_000;
const queryBackoff = { initialMs: 500, maxMs: 30_000 };
const thawBackoff = { initialMs: 20, maxMs: 2_000 };

export function createDestinationRunner(
  deps: DestinationRunnerDeps,
  initial: DestinationState,
): DestinationRunner {
  return new Runner(deps, initial);
}

class Runner implements DestinationRunner {
  private handling: Promise<void> = Promise.resolve();
  private arrival: Arrival | undefined;
  private failure: UmsError | undefined;
  private containerId: string | undefined;
  private preparing: Promise<Decision> | undefined;
  private lease: NodeJS.Timeout | undefined;
  private readonly closing = new AbortController();
  private timings: Record<string, number> = {};

  constructor(
    private readonly deps: DestinationRunnerDeps,
    public state: DestinationState,
  ) {}

  checkSource(migrationId: string, sourceName: string): void {
    const owner =
      this.arrival?.ref.migrationId === migrationId
        ? this.arrival.source.name
        : this.deps.journal.find("destination", migrationId)?.data?.peerName;
    if (owner === undefined || owner === sourceName) return;
    throw new UmsError("ERR_PEER_IDENTITY", `migration ${migrationId} is not ${sourceName}'s`);
  }

  async reserve(arrival: Arrival) {
    const { side } = this.deps;
    const { ref, departure } = arrival;
    const facts = await side.facts();
    if (this.state.migrationId !== ref.migrationId) {
      this.checkFree();
      checkCompatible(arrival.facts, facts, departure.spec);
    }
    const room = await side.reserve(departure);
    if (this.state.migrationId !== ref.migrationId) {
      this.checkFree();
      this.arrival = arrival;
      this.failure = undefined;
      this.preparing = undefined;
      this.timings = {};
      await this.dispatch({ type: "reserve", ...ref });
      await this.dispatch({ type: "receive" });
    }
    this.renewLease();
    return { facts, ...room };
  }

  async provision(ref: Ref): Promise<{ keptMounts: string[] }> {
    this.checkCurrent(ref);
    const startedMs = performance.now();
    const { containerId, keptMounts } = await this.orRefuse(() => this.deps.side.provision());
    this.containerId = containerId;
    this.timing("provision", startedMs);
    this.renewLease();
    return { keptMounts };
  }

  async arm(ref: Ref): Promise<void> {
    this.checkCurrent(ref);
    await this.orRefuse(() => this.deps.side.arm());
    this.renewLease();
  }

  async accept(migrationId: string, kind: StreamKind, name: string, stream: Duplex): Promise<void> {
    const { state } = this;
    // The relay outlives the migration; everything else belongs to its receiving.
    const isExpected = kind === "relay" ? state.phase !== "PASSIVE" : isReceiving(state.phase);
    if (state.migrationId !== migrationId || !isExpected) throw unknownMigration(migrationId);
    this.renewLease();
    await this.deps.side.accept(kind, name, stream);
    this.renewLease();
  }

  prepare(ref: Ref, flows: Flow[], digest: string): Promise<Decision> {
    if (!this.isCurrent(ref)) return Promise.reject(unknownMigration(ref.migrationId));
    this.preparing ??= this.doPrepare(flows, digest);
    return this.preparing;
  }

  async commit(ref: Ref, digest: string): Promise<Decision> {
    if (!this.isCurrent(ref)) return this.answerFromJournal(ref, digest);
    const startedMs = performance.now();
    await this.dispatch({ type: "commit", ...ref, digest });
    if (this.state.phase === "RUNNING") {
      const timingsMs = { ...this.timings, thaw: performance.now() - startedMs };
      return { digest, timingsMs };
    }
    if (hasRefused(this.state)) return this.refusedAnswer();
    throw new UmsError("ERR_EPOCH_STALE", `a commit does not fit ${this.state.phase} here`);
  }

  async abort(ref: Ref, reason: string): Promise<void> {
    await this.dispatch({ type: "abort", migrationId: ref.migrationId, reason });
  }

  async recover(): Promise<void> {
    const { data } = this.deps.journal.lastOf("destination") ?? {};
    this.containerId = data?.containerId;
    const { migrationId, epoch } = this.state;
    if (data?.peer !== undefined && migrationId !== undefined && epoch !== undefined) {
      this.arrival = {
        ref: { migrationId, epoch },
        source: { address: data.peer, name: data.peerName },
      } as Arrival;
    }
    const treeHeld = this.state.phase === "PREPARED" && (await this.deps.side.isHeld());
    await this.dispatch({ type: "restarted", treeHeld });
  }

  close(): void {
    this.closing.abort();
    clearTimeout(this.lease);
  }

  private async doPrepare(flows: Flow[], digest: string): Promise<Decision> {
    const { side } = this.deps;
    try {
      const startedMs = performance.now();
      const verified = await side.verified();
      if (verified !== digest) {
        throw new UmsError("ERR_MANIFEST_MISMATCH", "what arrived is not what the source sent", {
          details: { expected: digest, got: verified },
        });
      }
      await this.dispatch({ type: "verified", digest });
      this.timing("verify", startedMs);
      await this.dispatch({ type: "restore" });
      const restoreMs = performance.now();
      await side.restore(flows);
      this.timing("restore", restoreMs);
      if (!(await side.isHeld())) {
        throw new UmsError("ERR_CRIU_RESTORE_FAILED", "the restored service is not held frozen");
      }
      await this.dispatch({ type: "held" });
    } catch (thrown) {
      await this.refuse(thrown);
    }
    if (this.state.phase !== "PREPARED") return this.refusedAnswer();
    this.watchSource();
    return { digest, timingsMs: { ...this.timings } };
  }

  /** While PREPARED nothing here decides: the source is asked until it says what it did. */
  private watchSource(): void {
    const { arrival } = this;
    if (arrival === undefined) return;
    const { signal } = this.closing;
    const ask = async () => {
      for (let attempt = 0; this.state.phase === "PREPARED"; attempt += 1) {
        await sleep(backoffMs(attempt, queryBackoff), signal);
        if (this.state.phase !== "PREPARED") return;
        const answer = await this.deps.askSource(arrival.source, arrival.ref);
        const { migrationId } = arrival.ref;
        if (answer?.decision === "ABORT") {
          await this.dispatch({ type: "abort", migrationId, reason: "the source aborted" });
        } else if (answer?.decision === "COMMIT") {
          await this.dispatch({ type: "commit", ...arrival.ref, digest: answer.digest });
        }
      }
    };
    ask().catch((error) => {
      if (!signal.aborted) this.deps.log.error({ err: error }, "asking the source failed");
    });
  }

  private async refuse(thrown: unknown): Promise<void> {
    const error = UmsError.from(thrown);
    this.failure ??= error;
    this.deps.log.warn({ code: error.code, ...error.details }, error.message);
    await this.dispatch({ type: "failed", reason: error.message });
  }

  private async orRefuse<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (thrown) {
      await this.refuse(thrown);
      throw thrown;
    }
  }

  private dispatch(event: DestinationEvent): Promise<void> {
    const next = this.handling.then(() => this.handle(event));
    // A later event must be handled even if this one failed; its own caller sees the error.
    this.handling = next.catch(() => undefined);
    return next;
  }

  private async handle(event: DestinationEvent): Promise<void> {
    const before = this.state.phase;
    const step = reduceDestination(this.state, event);
    if (step.journal) {
      await this.deps.journal.append({ role: "destination", state: step.state, data: this.data() });
    }
    this.state = step.state;
    if (step.state.phase !== before) {
      const { phase, migrationId, epoch, reason } = step.state;
      this.deps.log.info({ phase, migrationId, epoch, reason }, "destination state");
      if (!isReceiving(phase) || phase === "PREPARED") clearTimeout(this.lease);
    }
    for (const effect of step.effects) await this.perform(effect);
  }

  private async perform(effect: string): Promise<void> {
    const { side, log } = this.deps;
    if (effect === "thaw") return this.thaw();
    if (effect === "query") return this.watchSource();
    if (effect === "discard") {
      try {
        await side.discard();
      } catch (error) {
        log.error({ err: error }, "what was received could not be deleted");
      }
    }
    // send-refused and send-running need no call: the source asks by Commit, and is answered.
  }

  private async thaw(): Promise<void> {
    for (let attempt = 0; ; attempt += 1) {
      try {
        await this.deps.side.thaw();
        break;
      } catch (error) {
        this.deps.log.error({ err: error, attempt }, "the service could not be thawed yet");
        await sleep(backoffMs(attempt, thawBackoff), this.closing.signal);
      }
    }
    const step = reduceDestination(this.state, { type: "thawed" });
    await this.deps.journal.append({ role: "destination", state: step.state, data: this.data() });
    this.state = step.state;
    const { phase, migrationId, epoch } = step.state;
    this.deps.log.info({ phase, migrationId, epoch }, "destination state");
    await this.deps.onOwned(this.arrival?.departure?.spec, epoch ?? 0);
  }

  private checkFree(): void {
    const { phase, migrationId } = this.state;
    if (isReceiving(phase) || phase === "OWNER") {
      throw new UmsError("ERR_MIGRATION_IN_PROGRESS", `another migration is ${phase} here`, {
        details: { migrationId, phase },
      });
    }
    if (this.deps.isOccupied()) {
      throw new UmsError("ERR_DESTINATION_OCCUPIED", "a service runs in that outer container", {
        hint: "choose one started with UMS_START_MODE=passive, or one its service has left",
      });
    }
  }

  private isCurrent(ref: Ref): boolean {
    return this.state.migrationId === ref.migrationId && this.state.epoch === ref.epoch;
  }

  private checkCurrent(ref: Ref): void {
    if (!this.isCurrent(ref) || !isReceiving(this.state.phase)) {
      throw this.failure ?? unknownMigration(ref.migrationId);
    }
  }

  /**
   * For a migration that others came after. Without a record nothing is answered: this could be
   * another outer container at the old one's address, and only REFUSED may free the source.
   */
  private answerFromJournal(ref: Ref, digest: string): Decision {
    const record = this.deps.journal.find("destination", ref.migrationId);
    if (record?.role !== "destination" || record.state.epoch !== ref.epoch) {
      throw unknownMigration(ref.migrationId);
    }
    if (!hasRefused(record.state)) return { digest, timingsMs: {} };
    const reason = record.state.reason ?? "the destination refused";
    return { refused: new UmsError("ERR_CANCELLED", reason), timingsMs: {} };
  }

  private refusedAnswer(): Decision {
    const reason = this.state.reason ?? "the destination refused";
    const refused = this.failure ?? new UmsError("ERR_CANCELLED", reason);
    return { refused, timingsMs: { ...this.timings } };
  }

  private renewLease(): void {
    clearTimeout(this.lease);
    if (!isReceiving(this.state.phase) || this.state.phase === "PREPARED") return;
    this.lease = setTimeout(() => {
      void this.refuse(new UmsError("ERR_DEADLINE", "the reservation's lease of 10 min ended"));
    }, leaseMs);
    this.lease.unref();
  }

  private timing(step: string, startedMs: number): void {
    this.timings[step] = performance.now() - startedMs;
  }

  private data() {
    const { containerId, arrival } = this;
    const source = arrival?.source;
    return {
      ...(containerId === undefined ? {} : { containerId }),
      ...(source === undefined ? {} : { peer: source.address }),
      ...(source?.name === undefined ? {} : { peerName: source.name }),
    };
  }
}

function hasRefused(state: DestinationState): boolean {
  return state.phase === "REFUSED" || state.phase === "DISCARDED";
}

function unknownMigration(migrationId: string): UmsError {
  return new UmsError("ERR_MIGRATION_NOT_FOUND", `migration ${migrationId} is not known here`);
}
