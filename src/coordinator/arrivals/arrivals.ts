/**
 * The destination's half: makes an outer container for a peer Coordinator's migration, watches it,
 * and removes it unless the service came.
 *
 * Invariants: a record is durable before anything is made for it; an outer container in which the
 * service runs is never removed; an arrival that nobody asks about ends by itself.
 */
import { UmsError } from "../../errors.js";
import { backoffMs } from "../../lib/backoff.js";
import { sleep } from "../../lib/deadline.js";
import type { Logger } from "../../lib/log.js";
import type { Orchestrator, Workload } from "../../orchestrators/contract.js";
import type { WorkloadSpec } from "../../orchestrators/workload.js";
import type { OuterTls } from "../config.js";
import { type OuterContainers, peerAddressOf } from "../outer.js";
import type { ArrivalOrder, ArrivalView } from "../peers.js";
import { toProblem } from "../problem.js";
import { isRecordId, type Store } from "../store.js";
import type { ArrivalRecord } from "./record.js";
import { arrivalSpec } from "./spec.js";

export interface ArrivalsDeps {
  store: Store<ArrivalRecord>;
  orchestrator: Orchestrator;
  outer: OuterContainers;
  outerTls: OuterTls | undefined;
  allowedBinds: readonly string[];
  log: Logger;
  /** Default: Date.now. */
  now?: () => number;
}

/** `caller`: the system whose Coordinator asks; only its own arrivals exist for it. */
export interface Arrivals {
  /** Idempotent. @throws ERR_REQUEST_CONFLICT when the same migration asked for something else */
  put(id: string, caller: string, order: ArrivalOrder): Promise<ArrivalView>;
  /** @throws ERR_MIGRATION_NOT_FOUND */
  get(id: string, caller: string): Promise<ArrivalView>;
  /** @throws ERR_DESTINATION_OCCUPIED when the service runs there */
  delete(id: string, caller: string): Promise<void>;
  /** @throws ERR_SERVICE_NOT_RUNNING, ERR_MIGRATION_NOT_FOUND */
  keep(id: string, caller: string): Promise<void>;
  /** Settings of a spec that would be lost here. */
  untranslatable(spec: WorkloadSpec, service: string): ArrivalView["untranslatable"];
  /** Migrations whose outer containers must stay. */
  resume(): void;
  /** Removes what nobody has asked about for 15 minutes and what has received nothing. */
  expire(): Promise<void>;
  close(): Promise<void>;
}

/** Includes the pull of the outer image. */
const readyTimeoutMs = 15 * 60_000;
const forgottenMs = 15 * 60_000;
const removeBackoff = { initialMs: 500, maxMs: 30_000 };
/** States of an outer container that holds nothing of a service (docs/switchover.md). */
const emptyStates = ["PASSIVE", "REFUSED", "DISCARDED"];

export function createArrivals(deps: ArrivalsDeps): Arrivals {
  return new ArrivalKeeper(deps);
}

class ArrivalKeeper implements Arrivals {
  private readonly works = new Map<string, { abort: AbortController; done: Promise<void> }>();
  private readonly closing = new AbortController();
  private readonly now: () => number;

  constructor(private readonly deps: ArrivalsDeps) {
    this.now = deps.now ?? Date.now;
  }

  async put(id: string, caller: string, order: ArrivalOrder): Promise<ArrivalView> {
    if (!isRecordId(id)) throw new UmsError("ERR_SPEC_INVALID", `"${id}" is not a migration id`);
    const known = this.deps.store.get(id);
    if (known !== undefined) {
      checkSame(known, caller, order);
      return this.view(await this.asked(known));
    }
    const { spec, reported } = this.translate(id, order);
    const refusals = this.deps.orchestrator.untranslatable(spec);
    const record: ArrivalRecord = {
      id,
      order,
      spec,
      state: "creating",
      untranslatable: [...reported, ...refusals],
      createdAt: this.now(),
      askedAt: this.now(),
    };
    await this.deps.store.write(record);
    this.begin(id);
    return this.view(record);
  }

  async get(id: string, caller: string): Promise<ArrivalView> {
    return this.view(await this.asked(this.need(id, caller)));
  }

  async delete(id: string, caller: string): Promise<void> {
    const record = this.deps.store.get(id);
    if (record === undefined || record.order.from.system !== caller) return;
    if (record.state !== "removing") {
      if (record.state === "kept" || (await this.runsAt(record))) throw occupied(record);
      await this.write({ ...record, state: "removing" });
    }
    await this.stopWork(id);
    await this.removeWorkloads(id);
    await this.deps.store.delete(id);
  }

  async keep(id: string, caller: string): Promise<void> {
    const record = this.need(id, caller);
    if (record.state === "kept") return;
    if (record.state !== "ready" || record.endpoint === undefined) {
      throw new UmsError("ERR_SERVICE_NOT_RUNNING", `the arrival is ${record.state}`);
    }
    const { here, state } = await this.deps.outer.status(record.endpoint);
    if (here !== "running") {
      throw new UmsError("ERR_SERVICE_NOT_RUNNING", `the service does not run there (${state})`);
    }
    await this.write({ ...record, state: "kept" });
  }

  untranslatable(spec: WorkloadSpec, service: string) {
    const from = { system: "", peerName: "" };
    const { spec: own, reported } = this.translate("00000000", { spec, service, from });
    return [...reported, ...this.deps.orchestrator.untranslatable(own)];
  }

  resume(): void {
    for (const { id, state } of this.deps.store.all()) {
      if (state === "creating") this.begin(id);
      if (state === "removing") this.start(id, (signal) => this.remove(id, signal));
    }
  }

  async expire(): Promise<void> {
    for (const record of this.deps.store.all()) {
      const { id, state, askedAt } = record;
      if (state === "kept" || state === "removing") continue;
      if (this.now() - askedAt < forgottenMs) continue;
      if (state === "ready" && !(await this.isEmpty(record))) continue;
      this.deps.log.warn({ migrationId: id, state }, "nobody asks about this arrival: removed");
      await this.write({ ...record, state: "removing" });
      await this.stopWork(id);
      this.start(id, (signal) => this.remove(id, signal));
    }
  }

  async close(): Promise<void> {
    this.closing.abort();
    await Promise.all([...this.works.values()].map(({ done }) => done));
  }

  private begin(id: string): void {
    this.start(id, (signal) => this.create(id, signal));
  }

  private start(id: string, work: (signal: AbortSignal) => Promise<void>): void {
    const abort = new AbortController();
    const signal = AbortSignal.any([abort.signal, this.closing.signal]);
    const done = work(signal)
      .catch((error) => {
        if (!signal.aborted) this.deps.log.error({ err: error, migrationId: id }, "arrival failed");
      })
      .finally(() => {
        if (this.works.get(id)?.abort === abort) this.works.delete(id);
      });
    this.works.set(id, { abort, done });
  }

  private async create(id: string, signal: AbortSignal): Promise<void> {
    const { orchestrator, outer } = this.deps;
    try {
      const { spec } = this.must(id);
      await this.checkName(id, spec.name);
      const made = await orchestrator.create({ spec, migrationId: id, startMode: "passive" });
      signal.throwIfAborted();
      const timeoutMs = readyTimeoutMs;
      const workload = await orchestrator.untilReady(made.id, { timeoutMs, signal });
      const endpoint = endpointOf(workload);
      const { facts } = await outer.facts(endpoint);
      signal.throwIfAborted();
      await this.write({ ...this.must(id), state: "ready", endpoint, facts });
    } catch (thrown) {
      if (signal.aborted) return;
      const error = UmsError.from(thrown);
      this.deps.log.warn({ migrationId: id, code: error.code }, error.message);
      await this.write({ ...this.must(id), state: "failed", problem: toProblem(error) });
      await this.removeWorkloads(id);
    }
  }

  /** An orchestrator that does not answer is asked again until it has removed everything. */
  private async remove(id: string, signal: AbortSignal): Promise<void> {
    for (let attempt = 0; ; attempt += 1) {
      try {
        await this.removeWorkloads(id);
        return await this.deps.store.delete(id);
      } catch (error) {
        this.deps.log.warn({ err: error, migrationId: id }, "arrival not removed yet");
        await sleep(backoffMs(attempt, removeBackoff), signal);
      }
    }
  }

  /** By the migration's mark: a Coordinator that died may have made one without recording it. */
  private async removeWorkloads(id: string): Promise<void> {
    const { orchestrator } = this.deps;
    for (const workload of await orchestrator.list()) {
      if (workload.migrationId === id) await orchestrator.remove(workload.id);
    }
  }

  private async checkName(id: string, name: string): Promise<void> {
    const workloads = await this.deps.orchestrator.list();
    const other = workloads.find(
      ({ spec, migrationId }) => spec.name === name && migrationId !== id,
    );
    if (other === undefined) return;
    throw new UmsError("ERR_DESTINATION_OCCUPIED", `${name} exists there already (${other.id})`, {
      hint: "choose another name (destination.name), or remove it there",
    });
  }

  private async stopWork(id: string): Promise<void> {
    const work = this.works.get(id);
    work?.abort.abort();
    await work?.done;
  }

  private async runsAt({ endpoint, state }: ArrivalRecord): Promise<boolean> {
    if (state !== "ready" || endpoint === undefined) return false;
    try {
      return (await this.deps.outer.status(endpoint)).here === "running";
    } catch (error) {
      // The source Coordinator deletes only what the source outer container says never ran.
      this.deps.log.debug({ err: error, endpoint }, "an arrival to be removed does not answer");
      return false;
    }
  }

  /** False also when it cannot be asked: it might have received something. */
  private async isEmpty({ endpoint }: ArrivalRecord): Promise<boolean> {
    if (endpoint === undefined) return true;
    try {
      const { here, state } = await this.deps.outer.status(endpoint);
      return here === "none" && emptyStates.includes(state);
    } catch (error) {
      this.deps.log.warn({ err: error, endpoint }, "a forgotten arrival cannot be asked");
      return false;
    }
  }

  private translate(migrationId: string, order: Omit<ArrivalOrder, "facts">) {
    const { outerTls, allowedBinds } = this.deps;
    return arrivalSpec(order.spec, {
      migrationId,
      service: order.service,
      sourcePeer: order.from.peerName,
      outerTls,
      allowedBinds,
    });
  }

  private async asked(record: ArrivalRecord): Promise<ArrivalRecord> {
    const next = { ...record, askedAt: this.now() };
    // Asked every second: not worth an fsync each time.
    if (next.askedAt - record.askedAt > 30_000) await this.write(next);
    return next;
  }

  private need(id: string, caller: string): ArrivalRecord {
    const record = this.deps.store.get(id);
    if (record !== undefined && record.order.from.system === caller) return record;
    throw new UmsError("ERR_MIGRATION_NOT_FOUND", `there is no arrival of the migration ${id}`);
  }

  private must(id: string): ArrivalRecord {
    const record = this.deps.store.get(id);
    if (record === undefined) throw new TypeError(`the arrival ${id} has gone`);
    return record;
  }

  private write(record: ArrivalRecord): Promise<void> {
    return this.deps.store.write(record);
  }

  private view(record: ArrivalRecord): ArrivalView {
    const { id: migrationId, endpoint, facts, problem, untranslatable } = record;
    const peerName = this.deps.outerTls?.peerName;
    return {
      migrationId,
      state: viewState(record.state),
      untranslatable,
      ...(endpoint === undefined ? {} : { endpoint }),
      ...(peerName === undefined ? {} : { peerName }),
      ...(facts === undefined ? {} : { facts }),
      ...(problem === undefined ? {} : { problem }),
    };
  }
}

function viewState(state: ArrivalRecord["state"]): ArrivalView["state"] {
  if (state === "kept") return "ready";
  return state === "removing" ? "failed" : state;
}

function endpointOf({ id, endpoint }: Workload): string {
  if (endpoint !== undefined) return peerAddressOf(endpoint);
  throw new UmsError("ERR_ORCHESTRATOR_REFUSED", `${id} runs, but nobody says at which address`, {
    hint: "publish its Migration Interface, or set UMS_COORDINATOR_HOST",
  });
}

function checkSame(known: ArrivalRecord, caller: string, order: ArrivalOrder): void {
  const { spec, service, from } = known.order;
  const isSame =
    JSON.stringify([spec, service, from]) ===
    JSON.stringify([order.spec, order.service, order.from]);
  if (isSame && from.system === caller) return;
  throw new UmsError("ERR_REQUEST_CONFLICT", "this migration has asked for something else before");
}

function occupied({ id }: ArrivalRecord): UmsError {
  return new UmsError("ERR_DESTINATION_OCCUPIED", `the service of migration ${id} runs here`, {
    hint: "migrate it away instead",
  });
}
