/** What `ums status` says. */
import type { DestinationState } from "../migration/destination-state.js";
import type { SourceRunner } from "../migration/source-runner.js";
import { isUndecided } from "../migration/source-state.js";
import type { ServiceStatus } from "../migration/view.js";
import type { NestedService } from "../nested/service.js";
import type { ServiceSpec } from "../spec.js";
import { describeAnnouncement, type TargetState } from "./announce.js";

export interface StatusFacts {
  spec: ServiceSpec | undefined;
  source: SourceRunner | undefined;
  destination: DestinationState;
  service: NestedService;
  relayed: { packets: number; bytes: number };
  announced: readonly TargetState[];
  /** Why this outer container still stands in for a service that has left. */
  whyFronting: string | undefined;
}

export function describeStatus(facts: StatusFacts): ServiceStatus {
  const { spec, source, destination, service, relayed } = facts;
  const isReceiving = source === undefined || !["PASSIVE", "RUNNING"].includes(destination.phase);
  const state = source === undefined ? destination.phase : source.state.phase;
  return {
    name: spec?.name ?? "",
    serviceId: spec?.serviceId ?? "",
    image: spec?.image.reference ?? "",
    state,
    epoch: source?.state.epoch ?? destination.epoch ?? 0,
    migrationId: source?.state.migrationId ?? (isReceiving ? (destination.migrationId ?? "") : ""),
    peer: source?.destination?.address ?? "",
    here: here(service, source),
    explanation: explain(facts),
    relayedPackets: relayed.packets,
    relayedBytes: relayed.bytes,
  };
}

function here(service: NestedService, source: SourceRunner | undefined): ServiceStatus["here"] {
  const frozen = ["FREEZING", "FROZEN", "COMMITTED", "DONE"];
  if (source !== undefined && frozen.includes(source.state.phase)) return "frozen";
  return service.state() === "running" ? "running" : "none";
}

function explain({ source, destination, announced, whyFronting }: StatusFacts): string {
  if (source === undefined) {
    return destination.phase === "PASSIVE"
      ? "stands by to receive a service"
      : `receives a service (${destination.phase}); it runs at the source until it is handed over`;
  }
  const { phase, reason } = source.state;
  const peer = source.destination?.address ?? "the destination";
  if (phase === "ACTIVE") {
    const last = reason === undefined ? "" : `; the last migration did not happen: ${reason}`;
    const told = announced.length === 0 ? "" : `; ${describeAnnouncement(announced)}`;
    return `the service runs here${last}${told}`;
  }
  if (isUndecided(phase)) return `the service is here and on its way to ${peer}`;
  if (phase === "COMMITTED") {
    const doubt = source.report?.doubtReason;
    const why = doubt === undefined ? "" : ` (${doubt})`;
    return `handed over to ${peer}, which has not confirmed yet${why}; nothing runs here`;
  }
  if (phase === "DONE" || phase === "RETIRED") {
    const until = whyFronting ?? "it stays until it is deleted";
    return `the service runs at ${peer}; this outer container relays to it (${until})`;
  }
  return "the migration failed and the service is being thawed here";
}
