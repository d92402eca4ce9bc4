/** Outer containers that must end and ask for their own service's evacuation. */
import { UmsError } from "../../errors.js";
import type { Logger } from "../../lib/log.js";
import type { Orchestrator, Workload } from "../../orchestrators/contract.js";
import type { Migrations } from "../migrations/migrations.js";
import type { MigrationRecord } from "../migrations/record.js";
import { isFinal, isOpen } from "../migrations/state.js";
import { type OuterContainers, peerAddressOf } from "../outer.js";
import type { DecisionMaker } from "./contract.js";

export interface EvacuationOrder {
  /** UUID of the service, as `ums status` shows it. */
  serviceId: string;
  evacuateTo: string;
  graceMs: number;
}

export interface EvacuationView {
  migrationId: string;
  state: "moving" | "moved" | "failed";
  /** Why it failed. */
  reason?: string;
}

export interface Evacuations {
  /**
   * Idempotent for a service.
   * @param peerName in the caller's certificate
   * @throws ERR_SERVICE_NOT_FOUND, ERR_PEER_IDENTITY when the service is not the caller's, and what
   *   a request for the migration throws
   */
  begin(order: EvacuationOrder, peerName: string): Promise<EvacuationView>;
  /** @throws ERR_MIGRATION_NOT_FOUND also when it is not this caller's */
  get(migrationId: string, peerName: string): EvacuationView;
}

export interface EvacuationsDeps {
  orchestrator: Orchestrator;
  outer: OuterContainers;
  migrations: Migrations;
  decide: DecisionMaker;
  log: Logger;
}

const callerOf = (peerName: string) => `peer:${peerName}`;

export function createEvacuations(deps: EvacuationsDeps): Evacuations {
  const { migrations, decide } = deps;
  return {
    async begin({ serviceId, evacuateTo, graceMs }, peerName) {
      const workload = await findService(deps, serviceId, peerName);
      const event = { type: "stopping", service: workload.id, evacuateTo, graceMs } as const;
      const request = decide.decide(event);
      if (request === undefined) {
        throw new UmsError(
          "ERR_REQUEST_CONFLICT",
          "this Coordinator's policy does not evacuate it",
        );
      }
      const known = sameEvacuation(migrations, workload.id, callerOf(peerName));
      const record = known ?? (await migrations.create(request, { name: callerOf(peerName) }));
      if (known === undefined) callOffLater(deps, record.id, graceMs);
      return viewOf(record);
    },
    get(migrationId, peerName) {
      const record = migrations.get(migrationId);
      if (record.caller === callerOf(peerName)) return viewOf(record);
      throw new UmsError("ERR_MIGRATION_NOT_FOUND", `there is no migration ${migrationId}`);
    },
  };
}

function sameEvacuation(migrations: Migrations, workloadId: string, caller: string) {
  return migrations
    .list()
    .find((one) => one.workloadId === workloadId && one.caller === caller && !isFinal(one.state));
}

/** When the time is over its service is stopped: a migration must not begin after that. */
function callOffLater({ migrations, log }: EvacuationsDeps, id: string, graceMs: number): void {
  const callOff = async () => {
    if (isOpen(migrations.get(id).state)) await migrations.cancel(id);
  };
  const timer = setTimeout(() => {
    callOff().catch((error) => log.warn({ err: error, migrationId: id }, "not called off"));
  }, graceMs);
  timer.unref();
}

/** Asked of the outer container itself at the address that the orchestrator knows. */
async function findService(
  { orchestrator, outer }: EvacuationsDeps,
  serviceId: string,
  peerName: string,
): Promise<Workload> {
  const found = (await orchestrator.list()).map(async (workload) => {
    if (workload.endpoint === undefined) return undefined;
    const address = peerAddressOf(workload.endpoint);
    // One that does not answer is not the one that has just asked.
    const status = await outer.status(address).catch(() => undefined);
    return status?.serviceId === serviceId ? { workload, address } : undefined;
  });
  const match = (await Promise.all(found)).find((one) => one !== undefined);
  if (match === undefined) {
    throw new UmsError("ERR_SERVICE_NOT_FOUND", `no service ${serviceId} runs in this system`);
  }
  const facts = await outer.facts(match.address);
  if (facts.peerName === peerName) return match.workload;
  throw new UmsError("ERR_PEER_IDENTITY", `the service is not that of peer ${peerName}`);
}

/** `moved` only when the source's workload is cleaned up: until then it must not end by itself. */
function viewOf({ id: migrationId, state, problem }: MigrationRecord): EvacuationView {
  if (state === "done") return { migrationId, state: "moved" };
  if (state !== "failed" && state !== "cancelled") return { migrationId, state: "moving" };
  return { migrationId, state: "failed", reason: problem?.detail ?? state };
}
