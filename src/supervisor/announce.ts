/**
 * Tells the world where a service is after it has moved: its DNS name, and a webhook.
 *
 * The destination does it, once it owns the service: it knows its own address, and no dead source
 * can block it. Nothing here touches the migration: a failure is logged, counted, shown by
 * `ums status` and repeated with growing pauses, for as long as the service is owned here. What is
 * done is noted in a file; what is to be done stands in the journal, so that a supervisor that was
 * restarted in between goes on.
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { UmsError } from "../errors.js";
import { backoffMs } from "../lib/backoff.js";
import { sleep } from "../lib/deadline.js";
import { isNotFound, writeFileDurably } from "../lib/files.js";
import type { Logger } from "../lib/log.js";
import type { Journal } from "../migration/journal.js";
import { isCommitted, type SourceState } from "../migration/source-state.js";
import type { ServiceSpec } from "../spec.js";

/** A service that has come here. */
export interface Arrival {
  migrationId: string;
  /** Under which it is owned here. */
  epoch: number;
  /** Migration Interface it came from, `host:port`; empty: unknown. */
  from: string;
  spec: ServiceSpec;
}

/** One way to tell it. */
export interface Target {
  name: string;
  /** What is told, as one text: when that changes (a new address), it is told again. */
  version(): string;
  /** May be repeated. @returns one sentence of what was done */
  tell(arrival: Arrival, context: TellContext): Promise<string>;
}

export interface TellContext {
  signal: AbortSignal;
  isOwner(): boolean;
}

export interface TargetState {
  target: string;
  isPending: boolean;
  /** Since this supervisor began. */
  failures: number;
  detail: string;
}

export interface Announcer {
  /**
   * Returns at once. Repeated calls for one arrival are one.
   * @param isOwner false while the service is handed on
   */
  announce(arrival: Arrival, isOwner: () => boolean): void;
  /** The service has left: what was not told yet is the next owner's. */
  withdraw(): void;
  states(): TargetState[];
  close(): Promise<void>;
}

export interface AnnouncerDeps {
  targets: readonly Target[];
  stateDir: string;
  log: Logger;
  /** Pauses between tries. Default 1 s growing to 60 s. */
  pauses?: { initialMs: number; maxMs: number };
}

/** What the journal says is to be told: undefined where no service that came here is owned. */
export function arrivalIn(
  journal: Pick<Journal, "lastOf">,
  source: SourceState | undefined,
  spec: ServiceSpec | undefined,
): Arrival | undefined {
  const record = journal.lastOf("destination");
  if (record?.role !== "destination" || source === undefined || spec === undefined)
    return undefined;
  const { phase, migrationId, epoch } = record.state;
  const isOurs = phase === "RUNNING" && epoch === source.epoch && !isCommitted(source.phase);
  if (!isOurs || migrationId === undefined) return undefined;
  return { migrationId, epoch: source.epoch, from: record.data?.peer ?? "", spec };
}

export function createAnnouncer(deps: AnnouncerDeps): Announcer {
  return new FileAnnouncer(deps);
}

/** Content of the file: what was told of which migration. */
interface Told {
  migrationId: string;
  /** Target -> version. */
  versions: Record<string, string>;
}

class FileAnnouncer implements Announcer {
  private current:
    | { migrationId: string; ending: AbortController; work: Promise<void> }
    | undefined;
  private readonly byTarget = new Map<string, TargetState>();
  private readonly path: string;
  private writing: Promise<void> = Promise.resolve();

  constructor(private readonly deps: AnnouncerDeps) {
    this.path = join(deps.stateDir, "announced.json");
  }

  announce(arrival: Arrival, isOwner: () => boolean): void {
    if (this.current?.migrationId === arrival.migrationId) return;
    this.withdraw();
    const ending = new AbortController();
    const context = { signal: ending.signal, isOwner: () => !ending.signal.aborted && isOwner() };
    for (const { name } of this.deps.targets) {
      const failures = this.byTarget.get(name)?.failures ?? 0;
      this.byTarget.set(name, { target: name, isPending: true, failures, detail: "not told yet" });
    }
    const work = this.tellAll(arrival, context);
    this.current = { migrationId: arrival.migrationId, ending, work };
  }

  withdraw(): void {
    this.current?.ending.abort();
    for (const state of this.byTarget.values()) {
      if (state.isPending)
        Object.assign(state, { isPending: false, detail: "the service has left" });
    }
  }

  states(): TargetState[] {
    return [...this.byTarget.values()];
  }

  async close(): Promise<void> {
    this.withdraw();
    await this.current?.work;
  }

  private async tellAll(arrival: Arrival, context: TellContext): Promise<void> {
    await Promise.all(
      this.deps.targets.map((target) => this.tellUntilDone(target, arrival, context)),
    );
  }

  private async tellUntilDone(
    target: Target,
    arrival: Arrival,
    context: TellContext,
  ): Promise<void> {
    const { log, pauses = { initialMs: 1_000, maxMs: 60_000 } } = this.deps;
    let lastCode: string | undefined;
    for (let attempt = 0; !context.signal.aborted; attempt += 1) {
      try {
        // While the service is handed on nothing is told: either it leaves, or it stays after all.
        if (context.isOwner()) return await this.tellOnce(target, arrival, context);
      } catch (thrown) {
        const { code, message, hint, details } = UmsError.from(thrown);
        if (context.isOwner()) {
          const { failures } = this.noteFailure(target, `${message} (${code})`);
          const fields = { target: target.name, code, reason: message, hint, details, failures };
          // One line for each new reason; the counter tells how often.
          const level = code === lastCode ? "debug" : "warn";
          log[level](fields, "the new place could not be told yet");
          lastCode = code;
        }
      }
      // Only closing and leaving end a pause early, which the loop's condition sees.
      await sleep(backoffMs(attempt, pauses), context.signal).catch(() => undefined);
    }
  }

  private async tellOnce(target: Target, arrival: Arrival, context: TellContext): Promise<void> {
    const { log } = this.deps;
    const version = target.version();
    const told = await this.read(arrival.migrationId);
    if (told.versions[target.name] === version) {
      this.noteSuccess(target, "told before");
      return;
    }
    const detail = await target.tell(arrival, context);
    await this.note(arrival.migrationId, target.name, version);
    this.noteSuccess(target, detail);
    log.info({ target: target.name, migrationId: arrival.migrationId, detail }, "new place told");
  }

  private noteSuccess(target: Target, detail: string): void {
    const failures = this.byTarget.get(target.name)?.failures ?? 0;
    this.byTarget.set(target.name, { target: target.name, isPending: false, failures, detail });
  }

  private noteFailure(target: Target, detail: string): TargetState {
    const failures = (this.byTarget.get(target.name)?.failures ?? 0) + 1;
    const state = { target: target.name, isPending: true, failures, detail };
    this.byTarget.set(target.name, state);
    return state;
  }

  /** One target after the other: both are in one file. */
  private note(migrationId: string, target: string, version: string): Promise<void> {
    const next = this.writing.then(async () => {
      const { versions } = await this.read(migrationId);
      const told: Told = { migrationId, versions: { ...versions, [target]: version } };
      await writeFileDurably(this.path, `${JSON.stringify(told)}\n`);
    });
    // The queue goes on after a failed write; its caller sees the error.
    this.writing = next.catch(() => undefined);
    return next;
  }

  /** A file that cannot be read means that all is told once more, which does no harm. */
  private async read(migrationId: string): Promise<Told> {
    try {
      const told = JSON.parse(await readFile(this.path, "utf8")) as Told;
      if (told.migrationId === migrationId) return told;
    } catch (error) {
      if (!isNotFound(error)) this.deps.log.warn({ err: error }, "announced.json is not readable");
    }
    return { migrationId, versions: {} };
  }
}

/** For `ums status`; empty while nothing is announced. */
export function describeAnnouncement(states: readonly TargetState[]): string {
  return states
    .map(({ target, isPending, failures, detail }) =>
      isPending && failures > 0 ? `${target}: not yet, ${detail}` : `${target}: ${detail}`,
    )
    .join("; ");
}
