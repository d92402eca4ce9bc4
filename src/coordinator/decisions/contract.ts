/** The Decision Maker: what happened in, which migration to make of it out. */
import type { MigrationRequest } from "../migrations/record.js";

export type DecisionEvent =
  /** Somebody asks for a migration. */
  | { type: "requested"; request: MigrationRequest }
  /** An outer container is told to end (node drain, spot preemption) and wants its service saved. */
  | {
      type: "stopping";
      /** Id of its workload. */
      service: string;
      /** System it is configured to go to. */
      evacuateTo: string;
      /** Longest time it waits. */
      graceMs: number;
    };

/** Pure: asks nobody, keeps nothing. */
export interface DecisionMaker {
  /** Undefined: nothing is to be moved. */
  decide(event: DecisionEvent): MigrationRequest | undefined;
}

/** The first policy that wants to move something decides. */
export function firstOf(policies: readonly DecisionMaker[]): DecisionMaker {
  return {
    decide(event) {
      for (const policy of policies) {
        const request = policy.decide(event);
        if (request !== undefined) return request;
      }
      return undefined;
    },
  };
}

/** What is asked for is done. */
export const requestPolicy: DecisionMaker = {
  decide: (event) => (event.type === "requested" ? event.request : undefined),
};

/**
 * A service whose outer container must end goes where that is configured to send it. Its source is
 * deleted without a drain: it ends in any case, and a workload that stays would be started again
 * elsewhere by the orchestrator, as a second copy without the service's state.
 */
export const evacuatePolicy: DecisionMaker = {
  decide(event) {
    if (event.type !== "stopping") return undefined;
    const { service, evacuateTo, graceMs } = event;
    return {
      service,
      destination: { system: evacuateTo },
      source: "delete",
      frontman: "relay",
      downtimeBudgetMs: Math.max(1, graceMs),
    };
  },
};
