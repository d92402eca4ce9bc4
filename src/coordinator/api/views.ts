/** Records as the API shows them. */
import type { Workload } from "../../orchestrators/contract.js";
import type { MigrationRecord } from "../migrations/record.js";
import { peerAddressOf } from "../outer.js";
import { determine, type PlanInput } from "../plan/plan.js";

export function migrationView(record: MigrationRecord) {
  const { key: _key, caller: _caller, spec: _spec, workloadId: _workload, ...rest } = record;
  const { service, arrival, createdAt, updatedAt, history, ...view } = rest;
  const { isConfirmed: _confirmed, isSourceRetired: _retired, ...shown } = view;
  return {
    ...shown,
    createdAt: iso(createdAt),
    updatedAt: iso(updatedAt),
    ...(service === undefined ? {} : { source: service.peerAddress }),
    ...(arrival === undefined ? {} : { destination: arrival.peerAddress }),
    history: history.map(({ state, at }) => ({ state, at: iso(at) })),
  };
}

export function serviceView({ id, spec, state, endpoint }: Workload, input: PlanInput) {
  const { status, view } = input;
  return {
    id,
    name: spec.name,
    image: spec.image,
    state,
    ports: spec.ports,
    ...(endpoint === undefined ? {} : { endpoint: peerAddressOf(endpoint) }),
    ...(status === undefined ? {} : { serviceImage: status.image, here: status.here }),
    ...(view === undefined
      ? {}
      : {
          memoryBytes: view.memoryBytes,
          diskBytes: view.diskBytes,
          processes: view.processes,
        }),
    migration: determine(input),
  };
}

function iso(ms: number): string {
  return new Date(ms).toISOString();
}
