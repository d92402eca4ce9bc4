/**
 * What a Coordinator needs of its computing system's orchestrator. One driver for each system;
 * all pass test/conformance/. Drivers know nothing of migrations: they read, create and remove
 * outer containers, and keep others from changing one for a while.
 */
import type { WorkloadSpec } from "./workload.js";

export type OrchestratorKind = "docker" | "swarm" | "podman" | "kubernetes" | "marathon";

/** Where the supervisor of an outer container is reached from other machines. */
export interface Endpoint {
  /** IP address or DNS name. */
  host: string;
  /** Of the Migration Interface. */
  peerPort: number;
  /** Of /readyz and /metrics. */
  httpPort: number;
}

export interface Workload {
  /** The orchestrator's own id: container id, service id, `namespace/name`... */
  id: string;
  spec: WorkloadSpec;
  state: "starting" | "running" | "ended";
  /** Undefined while it is not known. */
  endpoint?: Endpoint;
  /**
   * Settings it has here that {@link WorkloadSpec} has no words for, so that no other system can
   * give them; `setting` is this orchestrator's own name. Absent: none.
   */
  inexpressible?: Untranslatable[];
  /** Of {@link CreateOrder}; undefined for one that was not made by a Coordinator. */
  migrationId?: string;
}

/** A setting that this orchestrator cannot express. */
export interface Untranslatable {
  /** Path in {@link WorkloadSpec}, e.g. `sysctls.net.core.somaxconn`. */
  setting: string;
  /** `refused`: the service would not be the same without it; `reported`: it does without. */
  effect: "refused" | "reported";
  /** A sentence for people, with the way out if there is one. */
  reason: string;
}

export interface CreateOrder {
  spec: WorkloadSpec;
  /** Key of the creation: creating again for the same migration gives the same workload. */
  migrationId: string;
  /** `passive`: stands by to receive (UMS_START_MODE). */
  startMode: "active" | "passive";
}

/** Keeps control messages (delete, scale, update) from a service while it migrates. */
export interface Guard {
  /** `blocked`: the orchestrator refuses them; `detected`: they can only be noticed. */
  readonly mode: "blocked" | "detected";
  /** What was done to the service since the guard began; undefined: nothing. */
  change(): Promise<string | undefined>;
  /** Idempotent. A guard whose Coordinator has died is released by `releaseStale`. */
  release(): Promise<void>;
}

/**
 * All calls have a deadline of their own and throw ERR_ORCHESTRATOR_UNAVAILABLE when the system does
 * not answer, ERR_ORCHESTRATOR_REFUSED with its words when it says no.
 */
export interface Orchestrator {
  readonly kind: OrchestratorKind;
  /** Version and what it can do, for people. */
  describe(): Promise<{ version: string; features: string[] }>;
  /** Outer containers only: those whose image carries the label `ums.outer`. */
  list(): Promise<Workload[]>;
  /** @param name the service's name or the workload's id @throws ERR_SERVICE_NOT_FOUND */
  read(name: string): Promise<Workload>;
  /** Settings that would be lost or changed here. Pure: asks nobody. */
  untranslatable(spec: WorkloadSpec): Untranslatable[];
  /** @throws ERR_UNTRANSLATABLE for a setting that is `refused`, naming all of them */
  create(order: CreateOrder): Promise<Workload>;
  /**
   * Resolves when the outer container runs and its readiness is good.
   * @throws ERR_DEADLINE, ERR_ORCHESTRATOR_REFUSED with the orchestrator's own reason (image missing,
   *   no room, port taken) as soon as it is known, ERR_CANCELLED
   */
  untilReady(id: string, options: { timeoutMs: number; signal?: AbortSignal }): Promise<Workload>;
  /** Removes the workload and what `create` made for it. Succeeds when it is gone already. */
  remove(id: string): Promise<void>;
  guard(id: string, migrationId: string): Promise<Guard>;
  /** Releases guards of migrations that are not in `activeMigrationIds`. */
  releaseStale(activeMigrationIds: readonly string[]): Promise<void>;
  close(): Promise<void>;
}
