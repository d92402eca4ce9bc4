/**
 * One attempt to migrate away: the effects of the source's state machine, and what they share.
 * Decisions are not taken here; each effect ends by saying what happened.
 */
import type { Duplex } from "node:stream";
import type { SourceSession, SourceSide, StreamKind } from "../approach/contract.js";
import { UmsError } from "../errors.js";
import { backoffMs } from "../lib/backoff.js";
import { sleep } from "../lib/deadline.js";
import type { Faults } from "../lib/faults.js";
import type { Logger } from "../lib/log.js";
import type { Peer, Ref, Reservation } from "../peer/client.js";
import { askDestination } from "./ask-destination.js";
import type { MigrationReport } from "./report.js";
import type { SourceEffect, SourceEvent } from "./source-state.js";
import { orAborted, untilDone } from "./waits.js";

export interface DestinationAddress {
  /** `host:port` of the Migration Interface. */
  address: string;
  /** Name its certificate must carry; undefined: any peer of the same authority. */
  name: string | undefined;
  /** How clients reach the service there, in its own words; known once it has reserved. */
  publicEndpoint?: string;
  /**
   * Whether a peer of this name may be the destination, checked before anything is told to it. Left
   * out: yes, as after a restart, when the migration was begun already.
   */
  isAllowed?: (name: string) => boolean;
}

/** Control and data connection to one destination. */
export interface PeerLink {
  peer: Peer;
  /** What its certificate says; known once a call was answered. */
  peerName(): string | undefined;
  openStream(
    dataPort: number,
    header: { migrationId: string; kind: StreamKind; name: string },
    signal?: AbortSignal,
  ): Promise<Duplex>;
  close(): void;
}

export interface AttemptDeps {
  side: SourceSide;
  log: Logger;
  /** Connects to a destination's Migration Interface. */
  connect(destination: DestinationAddress): Promise<PeerLink>;
  /** Peer port of this side, told to the destination for its queries. */
  ownPeerPort: number;
  faults: Faults;
  /** Aborted when the supervisor ends: the next one goes on from the journal. */
  closing: AbortSignal;
}

export interface AttemptOptions {
  ref: Ref;
  destination: DestinationAddress | undefined;
  /** Longest freeze accepted before COMMITTED, milliseconds; after it the attempt is aborted. */
  downtimeBudgetMs: number;
  /** The destination's leave for this attempt; empty: it needs none. Neither logged nor kept. */
  token: string;
  report: MigrationReport;
  /** Manifest digest, when the attempt goes on after a restart. */
  digest: string | undefined;
  /** Tells the state machine; an event that no longer concerns it is dropped there. */
  dispatch(event: SourceEvent): Promise<void>;
}

const commitBackoff = { initialMs: 50, maxMs: 5_000 };
const abortBackoff = { initialMs: 50, maxMs: 500 };
const abortAttempts = 5;
export class SourceAttempt {
  /** Why it failed: the first cause. */
  failure: UmsError | undefined;
  private effects: Promise<void> = Promise.resolve();
  private readonly abort = new AbortController();
  private commits = new AbortController();
  private link: PeerLink | undefined;
  private reservation: Reservation | undefined;
  private session: SourceSession | undefined;
  private frozenAtMs: number | undefined;
  private budgetTimer: NodeJS.Timeout | undefined;
  private dumped: { digest: string; flows: Parameters<Peer["prepare"]>[2] } | undefined;

  constructor(
    private readonly deps: AttemptDeps,
    readonly options: AttemptOptions,
  ) {
    if (options.digest !== undefined) this.dumped = { digest: options.digest, flows: [] };
  }

  /** Ends transfers and waits; a running dump is left to end by itself. */
  cancel(): void {
    this.abort.abort();
    clearTimeout(this.budgetTimer);
  }

  /** Does `work`, which must not reject, when all that was enqueued before is done. */
  enqueue(work: () => Promise<void>): void {
    this.effects = this.effects.then(work);
  }

  /** What failed decides nothing here: the state machine is told, and says what follows. */
  async fail(error: UmsError): Promise<void> {
    this.failure ??= error;
    await this.options.dispatch({ type: "failed", reason: error.message });
  }

  perform(effect: SourceEffect): Promise<void> {
    switch (effect) {
      case "reserve":
        return this.reserve();
      case "precopy":
        return this.precopy();
      case "freeze":
        return this.freeze();
      case "prepare":
        return this.prepare();
      case "send-commit":
        return this.sendCommit();
      case "send-abort":
        return this.sendAbort();
      case "thaw":
        return this.thaw();
      case "kill":
        return this.depart();
    }
  }

  private async reserve(): Promise<void> {
    await this.deps.faults.at("source.do.reserve");
    const { peer, peerName } = await this.connect();
    const { side } = this.deps;
    const [facts, departure] = await Promise.all([side.facts(), side.describe()]);
    this.checkCancelled();
    this.reservation = await peer.reserve(this.options.ref, {
      ...departure,
      facts,
      sourceAddress: `:${this.deps.ownPeerPort}`,
      token: this.options.token,
    });
    const { publicEndpoint } = this.reservation;
    const { destination } = this.options;
    if (destination !== undefined) {
      // Whoever has reserved is the destination from here on, whatever comes to be at its address.
      const name = destination.name ?? peerName();
      const named = { ...destination, name };
      this.options.destination = publicEndpoint ? { ...named, publicEndpoint } : named;
    }
    this.options.report.expect(departure.memoryBytes + departure.diskBytes);
    this.session = this.createSession(this.reservation);
    await this.options.dispatch({ type: "reserved" });
  }

  private async precopy(): Promise<void> {
    const { session, reservation } = this.reserved();
    const { side, faults } = this.deps;
    await faults.at("source.do.precopy");
    const { peer } = await this.connect();
    if (!reservation.hasImage) await this.timed("image", () => side.sendImage(session));
    this.checkCancelled();
    const { keptMounts } = await this.timed("provision", () => peer.provision(this.options.ref));
    session.keptMounts = keptMounts;
    this.checkCancelled();
    await this.timed("presync", () => side.presync(session));
    this.checkCancelled();
    await this.timed("arm", () => peer.arm(this.options.ref));
    await this.timed("ready", () => side.ready(session));
    this.checkCancelled();
    await this.options.dispatch({ type: "converged" });
  }

  private async freeze(): Promise<void> {
    const { session } = this.reserved();
    const { faults } = this.deps;
    await faults.at("source.do.freeze");
    // Cancelled before anything was held: there is no need to disturb the service.
    this.checkCancelled();
    this.frozenAtMs = performance.now();
    this.startBudget();
    await this.timed("freeze", () => this.deps.side.freeze());
    await faults.at("source.do.dump");
    this.checkCancelled();
    this.dumped = await this.timed("dump", () => this.deps.side.dump(session));
    this.checkCancelled();
    await this.options.dispatch({ type: "dumped", digest: this.dumped.digest });
  }

  private async prepare(): Promise<void> {
    await this.deps.faults.at("source.do.prepare");
    const { peer } = await this.connect();
    const { ref, report, dispatch } = this.options;
    const { digest, flows } = this.checkpoint();
    const timeoutMs = Math.ceil(this.budgetLeftMs());
    if (timeoutMs <= 0) throw this.overBudget();
    // A late answer is of no use, and the thaw must not wait for it.
    const answer = await this.timed("prepare", () =>
      orAborted(peer.prepare(ref, digest, flows, timeoutMs), this.abort.signal),
    );
    report.setTimings("destination", answer.timingsMs);
    if (answer.refused !== undefined) {
      this.failure ??= answer.refused;
      const reason = answer.refused.message;
      return dispatch({ type: "refused", epoch: ref.epoch, reason });
    }
    if (this.budgetLeftMs() < 0) throw this.overBudget();
    this.checkCancelled();
    await dispatch({ type: "prepared", epoch: ref.epoch, digest: answer.digest });
  }

  /**
   * Before an operator's word is taken: no COMMIT may leave any more, and a destination that answers
   * is not dead. After an error other than that, {@link resumeCommits}.
   * @throws ERR_NOT_FENCED
   */
  async stopCommits(): Promise<void> {
    this.commits.abort();
    const { ref, destination } = this.options;
    const state = await askDestination(this.deps, destination, ref);
    if (state === "") return;
    throw new UmsError("ERR_NOT_FENCED", `the destination is not dead: it answers (${state})`, {
      hint: "leave both sides alone: the COMMIT arrives by itself; `ums status` tells",
      details: { state },
    });
  }

  /** The COMMIT is to be sent on; enqueue the effect again. */
  resumeCommits(): void {
    this.commits = new AbortController();
  }

  /** For ever: only the destination's answer, or an operator, ends COMMITTED (rule 8). */
  private async sendCommit(): Promise<void> {
    const { ref, report, dispatch } = this.options;
    const { signal: stopped } = this.commits;
    clearTimeout(this.budgetTimer);
    const { digest } = this.checkpoint();
    const startedMs = performance.now();
    for (let attempt = 0; !stopped.aborted; attempt += 1) {
      try {
        await this.deps.faults.at("source.do.send-commit");
        const { peer } = await this.connect();
        const answer = await orAborted(peer.commit(ref, digest), stopped);
        if (answer.refused !== undefined) {
          this.failure ??= answer.refused;
          const reason = answer.refused.message;
          return await dispatch({ type: "refused", epoch: ref.epoch, reason });
        }
        this.reportFreeze();
        report.setTimings("destination", answer.timingsMs);
        report.timing("commit", performance.now() - startedMs);
        return await dispatch({ type: "running", epoch: ref.epoch });
      } catch (thrown) {
        if (stopped.aborted) return;
        const { code, message } = UmsError.from(thrown);
        this.deps.log.warn({ attempt, code, migrationId: ref.migrationId }, message);
        report.doubt(message);
        await sleep(backoffMs(attempt, commitBackoff), this.deps.closing);
      }
    }
  }

  /** Whether the destination owns the service. Silence is a no. */
  async isTakenOver(): Promise<boolean> {
    const { ref, destination } = this.options;
    const state = await askDestination(this.deps, destination, ref);
    return state === "OWNER" || state === "RUNNING";
  }

  /** Best effort: a destination that does not hear it asks by Query, or its lease ends. */
  private async sendAbort(): Promise<void> {
    const { ref, destination } = this.options;
    if (destination === undefined) return;
    const reason = this.failure?.message ?? "the source aborted";
    for (let attempt = 0; attempt < abortAttempts; attempt += 1) {
      try {
        await this.deps.faults.at("source.do.send-abort");
        const { peer } = await this.connect();
        await peer.abort(ref, reason);
        break;
      } catch (thrown) {
        const { code, message } = UmsError.from(thrown);
        this.deps.log.warn({ attempt, code, migrationId: ref.migrationId }, message);
        await sleep(backoffMs(attempt, abortBackoff), this.deps.closing);
      }
    }
    this.disconnect();
  }

  private async thaw(): Promise<void> {
    const thaw = async () => {
      await this.deps.faults.at("source.do.thaw");
      await this.deps.side.thaw();
    };
    await untilDone("the service could not be thawed yet", thaw, {
      log: this.deps.log,
      signal: this.deps.closing,
    });
    this.reportFreeze();
    await this.options.dispatch({ type: "thawed" });
  }

  private async depart(): Promise<void> {
    const depart = async () => {
      await this.deps.faults.at("source.do.kill");
      await this.timed("depart", () => this.deps.side.depart());
    };
    await untilDone("the frozen copy could not be ended yet", depart, {
      log: this.deps.log,
      signal: this.deps.closing,
    });
    await this.options.dispatch({ type: "killed" });
    this.disconnect();
  }

  private createSession(reservation: Reservation): SourceSession {
    const { signal } = this.abort;
    const { migrationId } = this.options.ref;
    const { report } = this.options;
    return {
      migrationId,
      signal,
      keptMounts: [],
      knownLayers: reservation.hasImage ? undefined : reservation.knownLayers,
      openStream: async (kind, name) => {
        const link = await this.connect();
        return link.openStream(reservation.dataPort, { migrationId, kind, name }, signal);
      },
      peerName: () => this.link?.peerName(),
      onBytes: (bytes) => report.sent(bytes),
      onTiming: (step, ms) => report.timing(step, ms),
    };
  }

  private async connect(): Promise<PeerLink> {
    const { destination } = this.options;
    if (destination === undefined) throw new TypeError("no destination is known");
    this.link ??= await this.deps.connect(destination);
    return this.link;
  }

  private disconnect(): void {
    this.link?.close();
    this.link = undefined;
  }

  private reserved(): { session: SourceSession; reservation: Reservation } {
    const { session, reservation } = this;
    if (session === undefined || reservation === undefined) throw new TypeError("not reserved");
    return { session, reservation };
  }

  private checkpoint() {
    if (this.dumped === undefined) throw new TypeError("no checkpoint");
    return this.dumped;
  }

  private reportFreeze(): void {
    if (this.frozenAtMs === undefined) return;
    this.options.report.froze(performance.now() - this.frozenAtMs);
  }

  private budgetLeftMs(): number {
    return this.options.downtimeBudgetMs - (performance.now() - (this.frozenAtMs ?? 0));
  }

  /** A dump or a last file pass may hang: the service must run again all the same. */
  private startBudget(): void {
    this.budgetTimer = setTimeout(() => {
      this.fail(this.overBudget()).catch((error: unknown) => {
        this.deps.log.error({ err: error }, "the end of the downtime budget was not recorded");
      });
    }, this.options.downtimeBudgetMs);
  }

  private overBudget(): UmsError {
    const { downtimeBudgetMs } = this.options;
    const message = `the freeze took longer than the downtime budget of ${downtimeBudgetMs} ms`;
    return new UmsError("ERR_DEADLINE", message, {
      hint: "raise --downtime-budget, or migrate when the service is less busy",
    });
  }

  private checkCancelled(): void {
    if (this.abort.signal.aborted) throw this.failure ?? new UmsError("ERR_CANCELLED", "cancelled");
  }

  private async timed<T>(step: string, work: () => Promise<T>): Promise<T> {
    const startedMs = performance.now();
    const result = await work();
    this.options.report.timing(step, performance.now() - startedMs);
    return result;
  }
}
