/** What `ums status` says, and what the metrics say of a doubt. */
import { type DestinationState, isReceiving } from "../migration/destination-state.js";
import { destinationTable, sourceTable } from "../migration/explain.js";
import type { Journal, JournalRecord } from "../migration/journal.js";
import type { SourceRunner } from "../migration/source-runner.js";
import type { ServiceStatus } from "../migration/view.js";
import type { NestedService } from "../nested/service.js";
import type { ServiceSpec } from "../spec.js";
import { describeAnnouncement, type TargetState } from "./announce.js";

export interface StatusFacts {
  spec: ServiceSpec | undefined;
  source: Pick<SourceRunner, "state" | "report" | "destination"> | undefined;
  destination: DestinationState;
  journal: Pick<Journal, "last" | "lastOf">;
  service: Pick<NestedService, "state">;
  relayed: { packets: number; bytes: number };
  announced: readonly TargetState[];
  /** Why this outer container still stands in for a service that has left. */
  whyFronting: string | undefined;
  /** Name in our certificate; undefined: we have none. */
  self: string | undefined;
  /** Why the source could not be asked, the last time. */
  askError: string | undefined;
}

export function describeStatus(facts: StatusFacts): ServiceStatus {
  const { spec, relayed, self = "" } = facts;
  const side = isArriving(facts) ? arriving(facts) : leaving(facts);
  const { peer, peerName, reason, fence } = side;
  const other = peer === "" ? side.defaultPeer : peerName === "" ? peer : `${peerName} (${peer})`;
  const table: Record<string, (typeof sourceTable)["ACTIVE"]> = side.table;
  const explain = table[side.state] as (typeof sourceTable)["ACTIVE"];
  const { owner, why, next, inDoubt } = explain({
    peer: other,
    reason: reason === "" ? undefined : reason,
    isFenced: fence !== "",
  });
  return {
    name: spec?.name ?? "",
    serviceId: spec?.serviceId ?? "",
    image: spec?.image.reference ?? "",
    state: side.state,
    epoch: side.epoch,
    migrationId: side.migrationId,
    peer,
    peerName,
    self,
    here: here(facts, side.state),
    owner,
    since: side.record?.at ?? "",
    lastError: side.error,
    explanation: [why, ...besides(facts, side.state)].join("; "),
    next,
    inDoubt,
    fence,
    relayedPackets: relayed.packets,
    relayedBytes: relayed.bytes,
  };
}

/**
 * How long a doubt has lasted, seconds by the clock that wrote the journal: it must go on over
 * restarts, so it cannot be monotonic. 0 without a doubt.
 */
export function doubtSeconds({ inDoubt, since }: ServiceStatus, nowMs: number): number {
  if (!inDoubt) return 0;
  return Math.max(0, (nowMs - Date.parse(since)) / 1000);
}

/** What goes on beside the migration. */
function besides({ announced, whyFronting }: StatusFacts, state: string): string[] {
  if (state === "ACTIVE" && announced.length > 0) return [describeAnnouncement(announced)];
  if (state === "RETIRED") return [whyFronting ?? "it stays until it is deleted"];
  return [];
}

/** What either half says. Texts are empty where there is nothing. */
interface Side {
  table: typeof sourceTable | typeof destinationTable;
  state: string;
  epoch: number;
  migrationId: string;
  peer: string;
  peerName: string;
  defaultPeer: string;
  reason: string;
  error: string;
  fence: string;
  record: JournalRecord | undefined;
}

/** Whether the destination's half has the word: nothing is ours yet, or what left comes back. */
function isArriving({ source, destination, journal }: StatusFacts): boolean {
  if (source === undefined) return true;
  if (source.state.phase !== "RETIRED") return false;
  const { phase } = destination;
  const isOurs = phase === "OWNER" || phase === "RUNNING";
  return isReceiving(phase) || (isOurs && journal.last?.role === "destination");
}

function arriving({ destination, journal, askError = "" }: StatusFacts): Side {
  const { phase, epoch = 0, migrationId = "", reason = "", fence } = destination;
  const record = journal.lastOf("destination");
  return {
    table: destinationTable,
    state: phase,
    epoch,
    migrationId,
    peer: record?.data?.peer ?? "",
    peerName: record?.data?.peerName ?? "",
    defaultPeer: "the source",
    reason,
    error: phase === "PREPARED" ? askError : reason,
    fence: describeFence(fence),
    record,
  };
}

function leaving({ source, destination, journal }: StatusFacts): Side {
  const { phase = "ACTIVE", epoch = 0, migrationId = "", reason = "", fence } = source?.state ?? {};
  // The owner of an epoch that was taken over has no other record of that.
  const isTaken = destination.phase === "RUNNING" && destination.epoch === epoch;
  return {
    table: sourceTable,
    state: phase,
    epoch,
    migrationId,
    peer: source?.destination?.address ?? "",
    peerName: source?.destination?.name ?? "",
    defaultPeer: "the destination",
    reason,
    error: source?.report?.doubtReason ?? reason,
    fence: describeFence(fence ?? (isTaken ? destination.fence : undefined)),
    record: journal.lastOf("source"),
  };
}

function describeFence(fence: DestinationState["fence"]): string {
  return fence === undefined ? "" : `${fence.by} at ${fence.at}`;
}

function here({ service }: StatusFacts, state: string): ServiceStatus["here"] {
  const frozen = ["FREEZING", "FROZEN", "COMMITTED", "DONE", "PREPARED", "OWNER"];
  if (frozen.includes(state)) return "frozen";
  return service.state() === "running" ? "running" : "none";
}
