/** Breadth-first exploration of the model (model.ts), and what must hold in every state. */
import { isReceiving } from "../../src/migration/destination-state.js";
import { isBusy } from "../../src/migration/source-state.js";
import { type Rules, steps } from "./model.js";
import { initialWorld, type Limits, type Outer, type Step, type World } from "./model-world.js";

export interface Exploration {
  states: number;
  /** States in which both sides run a copy. */
  twoRunning: Finding;
  /** States without any copy although nothing was lost and no outer container restarted. */
  noneRunning: Finding;
  /** States from which no good end can be reached; not looked for when something may be lost. */
  stuck: Finding;
  /** One side was lost before the hand-over, and the other has no copy that can be brought up. */
  lostForGood: Finding;
  /** One side is lost, the other has the service, and nothing that can be counted on starts it. */
  downAfterLoss: Finding;
}

export interface Finding {
  count: number;
  /** The shortest way to one of them. */
  example: string[];
}

interface Node {
  world: World;
  before: Node | undefined;
  label: string;
  /** Without those that take a fault. */
  successors: Node[];
}

/** More than any exploration here needs; a mistake in the model must not fill the memory. */
const maxStates = 2_000_000;

export function explore(rules: Rules, limits: Limits): Exploration {
  const nodes = reachable(rules, limits);
  const isWhole = limits.losses === 0;
  return {
    states: nodes.length,
    twoRunning: finding(nodes, ({ A, B }) => A.tree === "run" && B.tree === "run"),
    noneRunning: finding(nodes, isNoneRunning),
    stuck: isWhole ? cannotReach(nodes, nodes, isGood) : { count: 0, example: [] },
    lostForGood: finding(nodes, isLostForGood),
    downAfterLoss: isWhole
      ? { count: 0, example: [] }
      : cannotReach(nodes, nodes.filter(isSurvivor), isGoodAfterLoss),
  };
}

function reachable(rules: Rules, limits: Limits): Node[] {
  const seen = new Map<string, Node>();
  const nodes: Node[] = [];
  const keyOf = createKeys();
  const visit = ({ world, label }: Omit<Step, "isFault">, before: Node | undefined): Node => {
    const key = keyOf(world);
    const known = seen.get(key);
    if (known !== undefined) return known;
    const node: Node = { world, before, label, successors: [] };
    seen.set(key, node);
    nodes.push(node);
    return node;
  };
  visit({ world: initialWorld(), label: "start" }, undefined);
  for (let next = 0; next < nodes.length; next += 1) {
    const node = nodes[next] as Node;
    for (const step of steps(node.world, rules, limits)) {
      const successor = visit(step, node);
      if (!step.isFault) node.successors.push(successor);
    }
    if (nodes.length > maxStates) throw new RangeError(`more than ${maxStates} states`);
  }
  return nodes;
}

/** A step changes one outer container; the other's text is made only once. */
function createKeys(): (world: World) => string {
  const texts = new WeakMap<object, string>();
  const numbers = new Map<string, number>();
  const short = (part: object): string => {
    const known = texts.get(part);
    if (known !== undefined) return known;
    const text = JSON.stringify(part);
    const number = numbers.get(text) ?? numbers.size;
    numbers.set(text, number);
    texts.set(part, String(number));
    return String(number);
  };
  return ({ A, B, net, begun }) => `${short(A)} ${short(B)} ${short(net)} ${begun.join("")}`;
}

function finding(nodes: Node[], isBad: (world: World) => boolean): Finding {
  const bad = nodes.filter(({ world }) => isBad(world));
  // Breadth first: the first one found is one of the nearest.
  return { count: bad.length, example: bad[0] === undefined ? [] : wayTo(bad[0]) };
}

function wayTo(node: Node): string[] {
  const way: string[] = [];
  for (let at: Node | undefined = node; at?.before !== undefined; at = at.before) {
    way.unshift(at.label);
  }
  return way;
}

function isNoneRunning({ A, B }: World): boolean {
  const isUnharmed = [A, B].every(({ isLost, restarts }) => !isLost && restarts === 0);
  return isUnharmed && A.tree === "none" && B.tree === "none";
}

/**
 * Only what the switch-over answers for: a source lost before COMMITTED is lost as any container
 * on that machine is, and so is a destination lost after it became the owner.
 */
function isLostForGood({ A, B }: World): boolean {
  if (A.restarts + B.restarts > 0) return false;
  const source = A.journal.source?.phase;
  // Of the migration that A has committed: B may have had another one since.
  const committed = A.journal.source?.migrationId;
  const destination = B.journal.found[`destination ${committed}`]?.phase ?? "PASSIVE";
  if (B.isLost) {
    const isHandedOver = source === "DONE" || source === "RETIRED";
    return !isHandedOver && A.tree === "none";
  }
  if (!A.isLost || source !== "COMMITTED") return false;
  return B.tree === "none" && !["REFUSED", "DISCARDED"].includes(destination);
}

/** One copy runs, both sides know it, and nothing is left to do. */
function isGood({ A, B }: World): boolean {
  const trees = [A.tree, B.tree].sort().join(" ");
  return isSettled(A) && isSettled(B) && trees === "none run";
}

/** The side that is left runs the service, knows it, and has nothing left to do. */
function isGoodAfterLoss({ A, B }: World): boolean {
  const left = A.isLost ? B : A;
  return A.isLost !== B.isLost && left.tree === "run" && isSettled(left);
}

function isSettled({ memory }: Outer): boolean {
  return (
    memory !== undefined &&
    memory.sourceEffects.length + memory.destinationEffects.length === 0 &&
    !(memory.source !== undefined && isBusy(memory.source.phase)) &&
    !isReceiving(memory.destination.phase) &&
    memory.destination.phase !== "OWNER"
  );
}

/**
 * One side is lost, and by its own journal the other has a copy of the service, frozen or running:
 * a source that has not heard RUNNING, a destination that was PREPARED. A restart of the latter has
 * ended its copy, which is one loss too many.
 */
function isSurvivor({ world: { A, B } }: Node): boolean {
  if (A.isLost === B.isLost) return false;
  const { journal, tree } = A.isLost ? B : A;
  if (journal.lastRole === "source") {
    return journal.source?.phase !== "DONE" && journal.source?.phase !== "RETIRED";
  }
  const phase = journal.destination?.phase ?? "PASSIVE";
  if (phase === "PREPARED") return tree !== "none";
  return phase === "OWNER" || phase === "RUNNING";
}

/** Those of `candidates` from which no good state is reached without a fault. */
function cannotReach(
  nodes: Node[],
  candidates: Node[],
  isGoodWorld: (world: World) => boolean,
): Finding {
  const predecessors = new Map<Node, Node[]>();
  for (const node of nodes) {
    for (const successor of node.successors) {
      const known = predecessors.get(successor);
      if (known === undefined) predecessors.set(successor, [node]);
      else known.push(node);
    }
  }
  const canEnd = new Set(nodes.filter(({ world }) => isGoodWorld(world)));
  const queue = [...canEnd];
  for (let node = queue.pop(); node !== undefined; node = queue.pop()) {
    for (const before of predecessors.get(node) ?? []) {
      if (canEnd.has(before)) continue;
      canEnd.add(before);
      queue.push(before);
    }
  }
  const without = candidates.filter((node) => !canEnd.has(node));
  return { count: without.length, example: without[0] === undefined ? [] : wayTo(without[0]) };
}
