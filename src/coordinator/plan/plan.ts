/**
 * Determines the approach: from facts of both ends to what is possible, why not, and how long it
 * takes. Pure. Reasons are whole sentences for people.
 */
import { checkCompatible } from "../../approach/compatible.js";
import { UmsError } from "../../errors.js";
import type { FactsView, ServiceStatus } from "../../migration/view.js";
import type { OrchestratorKind, Untranslatable } from "../../orchestrators/contract.js";
import type { Facts, ServiceSpec } from "../../spec.js";
import { estimate } from "./estimate.js";

export const approaches = ["process", "container", "vm", "unikernel"] as const;
export type Approach = (typeof approaches)[number];

export interface ApproachPlan {
  approach: Approach;
  possible: boolean;
  /** Why not, or what to know. */
  reasons: string[];
  predictedDowntimeMs?: number;
  predictedTotalMs?: number;
}

export interface Plan {
  possible: boolean;
  /** Possible ones first, the fastest of them first. */
  approaches: ApproachPlan[];
  /** What holds for every approach. */
  reasons: string[];
}

export interface DestinationFacts {
  system: string;
  orchestrator: OrchestratorKind;
  /** Of an outer container there; undefined while none can be asked. */
  facts?: Facts | undefined;
  /** What its orchestrator cannot express of the service. */
  untranslatable: Untranslatable[];
}

export interface PlanInput {
  service: string;
  state: "starting" | "running" | "ended";
  /** Of the outer container; undefined when it cannot be asked, for `problem`. */
  status?: ServiceStatus | undefined;
  view?: FactsView | undefined;
  problem?: UmsError | undefined;
  /** Undefined: anywhere. */
  destination?: DestinationFacts | undefined;
}

/** What the approaches that UMS does not have would take. */
const missing: Record<Exclude<Approach, "container">, string> = {
  process: "UMS cannot move a single process tree without its container; nothing here offers it.",
  vm: "The service does not run in a virtual machine of its own that UMS could move.",
  unikernel: "The service is an ordinary program, not a unikernel.",
};

export function determine(input: PlanInput): Plan {
  const reasons = generalObstacles(input);
  const container = containerPlan(input, reasons.length === 0);
  const others = (["process", "vm", "unikernel"] as const).map(
    (approach): ApproachPlan => ({ approach, possible: false, reasons: [missing[approach]] }),
  );
  const list = [container, ...others].sort(byRank);
  return { possible: list.some(({ possible }) => possible), approaches: list, reasons };
}

/**
 * The approach to take.
 * @param wanted undefined: the best
 * @throws ERR_SERVICE_NOT_RUNNING, ERR_UNTRANSLATABLE, ERR_PEER_INCOMPATIBLE,
 *   ERR_RESOURCE_UNSUPPORTED with all reasons, or the error that kept the facts away
 */
export function chooseApproach(plan: Plan, input: PlanInput, wanted?: string): ApproachPlan {
  const candidates =
    wanted === undefined
      ? plan.approaches
      : plan.approaches.filter(({ approach }) => approach === wanted);
  const [best] = candidates;
  if (best === undefined) {
    throw new UmsError("ERR_SPEC_INVALID", `there is no approach "${wanted}"`, {
      hint: `choose one of ${approaches.join(", ")}`,
    });
  }
  if (best.possible) return best;
  const reasons = [...plan.reasons, ...best.reasons];
  const message = `${input.service} cannot be migrated: ${reasons.join(" ")}`;
  throw new UmsError(codeOf(input), message, { details: { reasons } });
}

function generalObstacles({ service, state, status, problem }: PlanInput): string[] {
  if (problem !== undefined) {
    const hint = problem.hint === undefined ? "" : ` ${sentence(problem.hint)}`;
    return [`Its outer container cannot be asked: ${problem.message}.${hint}`];
  }
  if (state !== "running") return [`The outer container of ${service} is not running (${state}).`];
  if (status === undefined) return [];
  if (status.state === "RETIRED") {
    return [`The service has left this outer container and runs at ${status.peer}.`];
  }
  if (status.state !== "ACTIVE") {
    return [`The outer container is busy (${status.state}): ${status.explanation}.`];
  }
  return status.here === "running" ? [] : ["The service in the outer container does not run."];
}

function containerPlan(input: PlanInput, isFree: boolean): ApproachPlan {
  const { view, destination } = input;
  const obstacles: string[] = [];
  const remarks: string[] = [];
  if (view?.obstacle !== undefined) {
    const { message, hint } = view.obstacle;
    obstacles.push([sentence(message), hint === undefined ? "" : sentence(hint)].join(" ").trim());
  }
  if (view !== undefined && destination?.facts !== undefined) {
    const difference = incompatibility(view.facts, destination.facts, input.service);
    if (difference !== undefined) obstacles.push(sentence(difference.message));
  }
  if (destination !== undefined && destination.facts === undefined) {
    remarks.push(
      `Processor, kernel and CRIU of ${destination.system} are known only once an outer container runs there; they are checked before the service is touched.`,
    );
  }
  for (const { setting, effect, reason } of destination?.untranslatable ?? []) {
    const text = `${setting}: ${sentence(reason)}`;
    if (effect === "refused") obstacles.push(text);
    else remarks.push(text);
  }
  const possible = isFree && obstacles.length === 0;
  const times = view === undefined || !possible ? {} : estimate(view);
  return { approach: "container", possible, reasons: [...obstacles, ...remarks], ...times };
}

/** What keeps the process tree of one machine from going on on the other. */
export function incompatibility(a: Facts, b: Facts, name: string): UmsError | undefined {
  try {
    checkCompatible(a, b, { name } as ServiceSpec);
    return undefined;
  } catch (thrown) {
    return UmsError.from(thrown);
  }
}

function codeOf(input: PlanInput) {
  const { problem, view, destination, status } = input;
  if (problem !== undefined) return problem.code;
  if (input.state !== "running" || status?.state === "RETIRED") return "ERR_SERVICE_NOT_RUNNING";
  if (status !== undefined && status.state !== "ACTIVE") return "ERR_MIGRATION_IN_PROGRESS";
  if (status !== undefined && status.here !== "running") return "ERR_SERVICE_NOT_RUNNING";
  if (view?.obstacle !== undefined) return view.obstacle.code;
  if (destination?.untranslatable.some(({ effect }) => effect === "refused")) {
    return "ERR_UNTRANSLATABLE";
  }
  if (view !== undefined && destination?.facts !== undefined) {
    const difference = incompatibility(view.facts, destination.facts, input.service);
    if (difference !== undefined) return difference.code;
  }
  return "ERR_RESOURCE_UNSUPPORTED";
}

function byRank(a: ApproachPlan, b: ApproachPlan): number {
  if (a.possible !== b.possible) return a.possible ? -1 : 1;
  const total = (plan: ApproachPlan) => plan.predictedTotalMs ?? Number.MAX_SAFE_INTEGER;
  return total(a) - total(b);
}

function sentence(text: string): string {
  const start = `${text.charAt(0).toUpperCase()}${text.slice(1)}`;
  return /[.!?]$/.test(start) ? start : `${start}.`;
}
