/** What this outer container offers, and what its service would need elsewhere. */
import type { SourceSide } from "../approach/contract.js";
import { UmsError } from "../errors.js";
import type { FactsView } from "../migration/view.js";
import type { NestedService } from "../nested/service.js";
import type { Facts } from "../spec.js";

export interface HereDeps {
  facts: Facts;
  /** In this outer container's certificate; empty without one. */
  peerName: string;
  service: NestedService;
  /** Undefined while no service was ever here. */
  side: SourceSide | undefined;
}

/** Looks at every process and file of the service, so not for a tight loop. */
export async function describeHere({ service, side, ...own }: HereDeps): Promise<FactsView> {
  const none = { ...own, memoryBytes: 0, diskBytes: 0, processes: 0 };
  if (side === undefined || service.state() !== "running") return none;
  try {
    const { memoryBytes, diskBytes, processes = 0 } = await side.describe();
    return { ...none, memoryBytes, diskBytes, processes };
  } catch (thrown) {
    return { ...none, obstacle: UmsError.from(thrown) };
  }
}
