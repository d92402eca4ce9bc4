/** All migrations of this Coordinator: requests in, records out, one attempt each at work. */
import { randomUUID } from "node:crypto";
import { isDeepStrictEqual } from "node:util";
import { UmsError } from "../../errors.js";
import { backoffMs } from "../../lib/backoff.js";
import { sleep } from "../../lib/deadline.js";
import type { Guard } from "../../orchestrators/contract.js";
import type { Store } from "../store.js";
import { type Attempt, type AttemptDeps, runAttempt } from "./attempt.js";
import { cancelThere } from "./move.js";
import type { MigrationRecord, MigrationRequest, MigrationState } from "./record.js";
import {
  hasMoved,
  isFinal,
  isOpen,
  type MigrationEvent,
  newRecord,
  reduceMigration,
} from "./state.js";

export interface MigrationsDeps extends Omit<AttemptDeps, "otherGuards"> {
  store: Store<MigrationRecord>;
  /** Default: Date.now. */
  now?: () => number;
}

export interface Caller {
  /** Whose idempotency keys these are. */
  name: string;
  key?: string | undefined;
}

export type Listener = (record: MigrationRecord, event: MigrationEvent["type"]) => void;

export interface Migrations {
  /**
   * Accepts a request. The same key and request give the same migration.
   * @throws ERR_SERVICE_NOT_FOUND, ERR_SYSTEM_NOT_FOUND, ERR_MIGRATION_IN_PROGRESS,
   *   ERR_REQUEST_CONFLICT for a key that was used for another request, ERR_ORCHESTRATOR_*
   */
  create(request: MigrationRequest, caller: Caller): Promise<MigrationRecord>;
  /** @throws ERR_MIGRATION_NOT_FOUND, ERR_REQUEST_CONFLICT while it has not failed, as `create` */
  retry(id: string, caller: Caller): Promise<MigrationRecord>;
  /** @throws ERR_MIGRATION_NOT_FOUND, ERR_REQUEST_CONFLICT when it is too late */
  cancel(id: string): Promise<MigrationRecord>;
  /** @throws ERR_MIGRATION_NOT_FOUND */
  get(id: string): MigrationRecord;
  /** Newest first. */
  list(state?: MigrationState): MigrationRecord[];
  /** Told of every change of one migration. Returns the end of it. */
  subscribe(id: string, listener: Listener): () => void;
  /** After a start: releases stale guards and carries on with every record that is not settled. */
  resume(): Promise<void>;
  close(): Promise<void>;
}

/** Settled ones beyond this are forgotten, oldest first. */
const maxSettled = 500;
/** States in which a guard may be held. */
const guardStates: readonly MigrationState[] = ["guarded", "migrating", "moved", "cleaning"];

export function createMigrations(deps: MigrationsDeps): Migrations {
  return new Manager(deps);
}

class Manager implements Migrations {
  private readonly current = new Map<string, MigrationRecord>();
  private readonly works = new Map<string, { cancel: AbortController; done: Promise<void> }>();
  private readonly listeners = new Map<string, Set<Listener>>();
  private readonly changing = new Map<string, Promise<void>>();
  private readonly closing = new AbortController();
  /** Requests one after another: two for one service must see each other. */
  private creating: Promise<unknown> = Promise.resolve();
  private readonly now: () => number;

  constructor(private readonly deps: MigrationsDeps) {
    this.now = deps.now ?? Date.now;
    for (const record of deps.store.all()) this.current.set(record.id, record);
  }

  create(request: MigrationRequest, caller: Caller): Promise<MigrationRecord> {
    return this.inTurn(() => this.accept(request, caller));
  }

  retry(id: string, caller: Caller): Promise<MigrationRecord> {
    return this.inTurn(async () => {
      const { state, request, isSettled } = this.get(id);
      if (state !== "failed" && state !== "cancelled") {
        throw new UmsError("ERR_REQUEST_CONFLICT", `the migration is ${state}: nothing to retry`);
      }
      // What the first one made has the name that the second one needs.
      if (!isSettled) {
        throw new UmsError("ERR_REQUEST_CONFLICT", "the migration is still being cleaned up", {
          hint: "retry when isSettled is true",
        });
      }
      return await this.accept(request, caller, id);
    });
  }

  async cancel(id: string): Promise<MigrationRecord> {
    this.get(id);
    await this.apply(id, { type: "cancel-requested" });
    const record = this.get(id);
    const isTooLate = hasMoved(record.state) || record.state === "failed";
    if (!record.isCancelRequested || isTooLate) {
      throw new UmsError("ERR_REQUEST_CONFLICT", `it is too late to cancel: ${record.state}`);
    }
    if (isOpen(record.state) && record.state !== "migrating") this.works.get(id)?.cancel.abort();
    if (record.state === "migrating") await cancelThere({ record, deps: this.attemptDeps() });
    return this.get(id);
  }

  get(id: string): MigrationRecord {
    const record = this.current.get(id);
    if (record !== undefined) return record;
    throw new UmsError("ERR_MIGRATION_NOT_FOUND", `there is no migration ${id}`, {
      hint: "GET /v1/migrations lists them",
    });
  }

  list(state?: MigrationState): MigrationRecord[] {
    return [...this.current.values()]
      .filter((record) => state === undefined || record.state === state)
      .sort((a, b) => b.createdAt - a.createdAt);
  }

  subscribe(id: string, listener: Listener): () => void {
    const all = this.listeners.get(id) ?? new Set();
    this.listeners.set(id, all.add(listener));
    return () => {
      all.delete(listener);
      if (all.size === 0) this.listeners.delete(id);
    };
  }

  async resume(): Promise<void> {
    const open = this.list().filter(({ isSettled }) => !isSettled);
    for (const { id } of open) this.start(id);
    try {
      await this.deps.orchestrator.releaseStale(this.guardsBut(undefined));
    } catch (thrown) {
      // Each attempt releases its own; those of records that are lost wait for the next start.
      this.deps.log.warn({ err: thrown }, "stale guards are not released");
    }
  }

  async close(): Promise<void> {
    this.closing.abort();
    await Promise.all([...this.works.values()].map(({ done }) => done));
    await Promise.all(this.changing.values());
  }

  private inTurn<T>(work: () => Promise<T>): Promise<T> {
    const next = this.creating.then(work);
    this.creating = next.catch(() => undefined); // Its caller sees it; the next one must go on.
    return next;
  }

  private async accept(
    request: MigrationRequest,
    caller: Caller,
    retryOf?: string,
  ): Promise<MigrationRecord> {
    const same = this.sameKey(caller);
    if (same !== undefined) {
      if (isDeepStrictEqual(same.request, request) && same.retryOf === retryOf) return same;
      const message = "this idempotency key was used for another request";
      throw new UmsError("ERR_REQUEST_CONFLICT", message, { details: { migrationId: same.id } });
    }
    const { orchestrator, peers, store, system } = this.deps;
    if (request.destination.system === system) {
      throw new UmsError("ERR_SPEC_INVALID", `the service is in ${system} already`);
    }
    peers.to(request.destination.system);
    const { id: workloadId } = await orchestrator.read(request.service);
    this.checkFree(workloadId, request.service);
    const { key, name } = caller;
    const id = randomUUID();
    const migration = { id, caller: name, request, workloadId };
    const record = newRecord(
      {
        ...migration,
        ...(key === undefined ? {} : { key }),
        ...(retryOf === undefined ? {} : { retryOf }),
      },
      this.now(),
    );
    await store.write(record);
    this.current.set(id, record);
    this.start(id);
    await this.forgetOld();
    return record;
  }

  private sameKey({ name, key }: Caller): MigrationRecord | undefined {
    if (key === undefined) return undefined;
    return this.list().find((record) => record.key === key && record.caller === name);
  }

  private checkFree(workloadId: string, service: string): void {
    const other = this.list().find(
      (record) => record.workloadId === workloadId && !isFinal(record.state),
    );
    if (other === undefined) return;
    throw new UmsError("ERR_MIGRATION_IN_PROGRESS", `${service} is being migrated already`, {
      hint: `see GET /v1/migrations/${other.id}`,
      details: { migrationId: other.id },
    });
  }

  private start(id: string): void {
    const cancel = new AbortController();
    const { closing } = this;
    const manager = this;
    const attempt: Attempt = {
      deps: this.attemptDeps(),
      guard: undefined as Guard | undefined,
      mayOrder: false,
      stopReason: undefined,
      closing: closing.signal,
      cancel: AbortSignal.any([closing.signal, cancel.signal]),
      get record() {
        return manager.get(id);
      },
      peer: () => this.deps.peers.to(this.get(id).request.destination.system),
      apply: async (event) => {
        // What a closing Coordinator still hears is asked for again by the next one.
        closing.signal.throwIfAborted();
        await this.apply(id, event);
      },
    };
    if (attempt.record.isCancelRequested) cancel.abort();
    const done = runAttempt(attempt)
      .catch((error) => {
        if (closing.signal.aborted) return;
        this.deps.log.error({ err: error, migrationId: id }, "a migration stopped unforeseen");
      })
      .finally(() => this.works.delete(id));
    this.works.set(id, { cancel, done });
  }

  private attemptDeps(): AttemptDeps {
    return { ...this.deps, otherGuards: (id) => this.guardsBut(id) };
  }

  private guardsBut(id: string | undefined): string[] {
    return this.list()
      .filter((record) => record.id !== id && guardStates.includes(record.state))
      .map((record) => record.id);
  }

  /** Changes of one record come one after another; each is on disk before the next. */
  private apply(id: string, event: MigrationEvent): Promise<void> {
    const before = this.changing.get(id) ?? Promise.resolve();
    const next = before.then(() => this.change(id, event));
    const settled = next.catch(() => undefined); // Its caller sees it; the next one must go on.
    this.changing.set(id, settled);
    settled.then(() => {
      if (this.changing.get(id) === settled) this.changing.delete(id);
    });
    return next;
  }

  private async change(id: string, event: MigrationEvent): Promise<void> {
    const before = this.get(id);
    const record = reduceMigration(before, event, this.now());
    if (record === before) return;
    // How far it is goes stale at once: not worth an fsync, and nothing depends on it.
    if (event.type !== "progress") await this.writeUntilDone(record);
    this.current.set(id, record);
    if (record.state !== before.state) {
      this.deps.log.info({ migrationId: id, state: record.state }, "migration");
    }
    for (const listener of this.listeners.get(id) ?? []) listener(record, event.type);
  }

  /** A full disk must not leave a migration without its record, so it waits for room. */
  private async writeUntilDone(record: MigrationRecord): Promise<void> {
    for (let attempt = 0; ; attempt += 1) {
      try {
        return await this.deps.store.write(record);
      } catch (error) {
        this.deps.log.error({ err: error, migrationId: record.id }, "record not written yet");
        await sleep(backoffMs(attempt, this.deps.waits.backoff), this.closing.signal);
      }
    }
  }

  private async forgetOld(): Promise<void> {
    const settled = this.list().filter(({ isSettled }) => isSettled);
    for (const { id } of settled.slice(maxSettled)) {
      await this.deps.store.delete(id);
      this.current.delete(id);
    }
  }
}
