/** What this Coordinator has made, or is making, for another one's migration. */
import type { Untranslatable } from "../../orchestrators/contract.js";
import type { WorkloadSpec } from "../../orchestrators/workload.js";
import type { Facts } from "../../spec.js";
import type { ArrivalOrder } from "../peers.js";
import type { Problem } from "../problem.js";

export interface ArrivalRecord {
  /** Of the migration. */
  id: string;
  order: ArrivalOrder;
  /** What is created. */
  spec: WorkloadSpec;
  /**
   * `creating` until it is `ready` or `failed`; `kept` once the service runs in it; `removing`
   * until nothing of it is left, and with it this record.
   */
  state: "creating" | "ready" | "failed" | "kept" | "removing";
  /** `host:port` of its Migration Interface. */
  endpoint?: string;
  facts?: Facts;
  untranslatable: Untranslatable[];
  problem?: Problem;
  createdAt: number;
  /** When the other Coordinator last asked. */
  askedAt: number;
}
