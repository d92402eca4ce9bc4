/** Gathers the facts from which the approach is determined. */
import { UmsError } from "../../errors.js";
import type { FactsView, ServiceStatus } from "../../migration/view.js";
import type { Orchestrator, Workload } from "../../orchestrators/contract.js";
import type { Facts } from "../../spec.js";
import { type OuterContainers, peerAddressOf } from "../outer.js";
import type { PeerCoordinators } from "../peers.js";
import type { DestinationFacts, PlanInput } from "./plan.js";

export interface Survey {
  /** @param system destination; undefined: anywhere @throws ERR_SYSTEM_NOT_FOUND, ERR_PEER_* */
  inputFor(workload: Workload, system?: string): Promise<PlanInput>;
  /** Facts of some outer container that runs here; undefined when none answers. */
  ownFacts(): Promise<Facts | undefined>;
}

export interface SurveyDeps {
  orchestrator: Orchestrator;
  outer: OuterContainers;
  peers: PeerCoordinators;
}

/** Outer containers that are asked for the facts of their machine before giving up. */
const maxAsked = 3;
/** Facts of a machine do not change while it runs. */
const factsMaxAgeMs = 60_000;

export function createSurvey(deps: SurveyDeps): Survey {
  const { orchestrator, outer, peers } = deps;
  let known: { facts: Facts; atMs: number } | undefined;

  async function askDestination(workload: Workload, system: string): Promise<DestinationFacts> {
    const { orchestrator: kind, ...rest } = await peers.to(system).feasibility(workload.spec);
    return { system, orchestrator: kind as DestinationFacts["orchestrator"], ...rest };
  }

  return {
    async inputFor(workload, system) {
      const { spec, state } = workload;
      const [own, destination] = await Promise.all([
        askOuter(outer, workload),
        system === undefined ? undefined : askDestination(workload, system),
      ]);
      return { service: spec.name, state, ...own, destination };
    },
    async ownFacts() {
      if (known !== undefined && performance.now() - known.atMs < factsMaxAgeMs) return known.facts;
      const workloads = (await orchestrator.list()).filter(({ state }) => state === "running");
      for (const { endpoint } of workloads.slice(0, maxAsked)) {
        if (endpoint === undefined) continue;
        const view = await outer.facts(peerAddressOf(endpoint)).catch(() => undefined); // The next.
        if (view === undefined) continue;
        known = { facts: view.facts, atMs: performance.now() };
        return view.facts;
      }
      return undefined;
    },
  };
}

interface Asked {
  status?: ServiceStatus;
  view?: FactsView;
  problem?: UmsError;
}

async function askOuter(outer: OuterContainers, { state, endpoint }: Workload): Promise<Asked> {
  if (state !== "running") return {};
  if (endpoint === undefined) {
    const problem = new UmsError("ERR_PEER_UNREACHABLE", "the orchestrator knows no address of it");
    return { problem };
  }
  try {
    const address = peerAddressOf(endpoint);
    const status = await outer.status(address);
    return { status, view: await outer.facts(address) };
  } catch (thrown) {
    return { problem: UmsError.from(thrown) };
  }
}
