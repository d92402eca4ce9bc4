/** One cell: arm, migrate, let it go wrong, and see that all is well at the end. */
import { mkdir, writeFile } from "node:fs/promises";
import { poll, sleep, within } from "../../src/lib/deadline.js";
import type { JournalRecord } from "../../src/migration/journal.js";
import { askOnce } from "../lib/line-client.js";
import type { Cell, MigrateEnd, Outcome, Scene } from "./cell.js";
import { type CellClient, openCellClient } from "./client.js";
import type { Pair } from "./pair.js";
import type { Side } from "./side.js";
import { findLeftovers, type Snapshot, takeSnapshot } from "./snapshot.js";
import { findTimelineProblem } from "./timeline.js";

export interface CellReport {
  outcome: Outcome | "unknown";
  /** From the request until both sides were at rest. */
  ms: number;
  /** Error code the operator was told. */
  code: string | undefined;
  problems: string[];
}

/** Snapshots of sides that no fault has met, by what they are. */
export interface Healthy {
  owner: Snapshot[];
  away: Snapshot[];
}

const defaultBoundMs = 120_000;
const defaultBudgetMs = 30_000;
/** What is tidied up after the answer: files, processes, connections. */
const tidyTimeoutMs = 20_000;
/** A client whose packets were lost sends again after as long as it has waited (RFC 6298). */
const clientTimeoutMs = 75_000;
const servicePort = 7000;
/** Until a healthy side has tidied up; it has no end to wait for. */
const settleMs = 3_000;

export async function runCell(cell: Cell, pair: Pair, healthy: Healthy): Promise<CellReport> {
  const first = pair.source;
  await cell.prepare?.(pair);
  const { source, destination } = pair;
  const boundMs = cell.boundMs ?? defaultBoundMs;
  const budgetMs = cell.budgetMs ?? defaultBudgetMs;
  const seqs = new Map<Side, number>();
  for (const side of [source, destination]) seqs.set(side, (await side.journal()).at(-1)?.seq ?? 0);
  const client = await openCellClient({ host: first.outer.ip, port: servicePort });
  const scene: Scene = {
    pair,
    source,
    destination,
    side: (role) => (role === "source" ? source : destination),
    migrating: Promise.resolve({ outcome: "unknown", code: undefined, message: "" }),
    migrate: (from, to) => pair.migrate(from, to, budgetMs, boundMs),
  };
  const startMs = performance.now();
  const problems: string[] = [];
  const check = async (what: string, work: () => Promise<string[]>): Promise<void> => {
    const found = await work().catch((error: unknown) => [String(error)]);
    problems.push(...found.map((problem) => `${what}: ${problem}`));
  };
  let end: MigrateEnd | undefined;
  let ms = 0;
  try {
    await check("fault", async () => {
      await cell.before?.(scene);
      for (const arm of cell.arm ?? []) await scene.side(arm.on).arm(arm);
      scene.migrating = scene.migrate(source, destination);
      await within(boundMs, "the cell's own steps", cell.act?.(scene) ?? Promise.resolve());
      end = await scene.migrating;
      return [];
    });
    await check("rest", async () => {
      const leftMs = Math.max(5_000, boundMs - (performance.now() - startMs));
      await poll("both sides at rest", () => isAtRest(pair), { timeoutMs: leftMs });
      return [];
    });
    ms = performance.now() - startMs;
    if (ms > boundMs) problems.push(`time: ${Math.round(ms)} ms, at most ${boundMs}`);
    await check("fault", async () => {
      await cell.after?.(scene);
      return neverReached(cell, scene);
    });
    for (const side of pair.sides) await side.disarm();
    pair.expectedLives += cell.restarts ?? 0;
    const outcome = await outcomeOf(pair);
    if (outcome === "unknown") problems.push("outcome: not exactly one side owns the service");
    else if (cell.expect !== "either" && outcome !== cell.expect) {
      problems.push(`outcome: ${outcome}, expected ${cell.expect}; ${end?.code} ${end?.message}`);
    }
    if (end !== undefined && end.outcome !== "unknown" && end.outcome !== outcome) {
      problems.push(`answer: the operator was told "${end.outcome}" of what ${outcome}`);
    }
    if (cell.code !== undefined && end?.code !== cell.code) {
      problems.push(`code: ${end?.code} (${end?.message}), expected ${cell.code}`);
    }
    if (outcome === "moved") pair.swap();
    await check("journal", () => journalProblems(pair, seqs));
    const mayLack = cell.mayLack === true;
    await check("left over", () => leftovers(pair, healthy, mayLack));
    await check("service", () => serviceProblems(cell, pair, client));
    await check("finish", async () => {
      if (cell.finish === undefined) return [];
      await cell.finish(pair);
      const problem = await outputProblem(pair);
      return problem === undefined ? [] : [problem];
    });
    return { outcome, ms, code: end?.code, problems };
  } finally {
    await client.close();
  }
}

/** A fault that never struck proves nothing. */
async function neverReached(cell: Cell, scene: Scene): Promise<string[]> {
  const missed: string[] = [];
  for (const { on, point } of cell.arm ?? []) {
    const side = scene.side(on);
    if (await side.isArmed(point)) missed.push(`${point} was never reached`);
  }
  return missed;
}

const restingSource = new Set(["ACTIVE", "RETIRED"]);
const restingDestination = new Set(["RUNNING", "REFUSED", "DISCARDED"]);

/** Every journal ends in a state that nothing will change, and every supervisor serves. */
async function isAtRest(pair: Pair): Promise<boolean> {
  for (const side of pair.sides) {
    if (!side.isRunning()) return false;
    const records = await side.journal();
    const { source, destination } = newest(records);
    if (source !== undefined && !restingSource.has(source.phase)) return false;
    if (destination !== undefined && !restingDestination.has(destination.phase)) return false;
    // Between RUNNING and the take-over.
    const last = records.at(-1);
    if (last?.role === "destination" && last.state.phase === "RUNNING") return false;
  }
  const answers = await Promise.all(pair.sides.map((side) => pair.answers(side)));
  return answers.every(Boolean);
}

function newest(records: readonly JournalRecord[]) {
  const of = (role: JournalRecord["role"]) =>
    records.findLast((record) => record.role === role)?.state;
  return { source: of("source"), destination: of("destination") };
}

async function owns(side: Side): Promise<boolean> {
  const last = (await side.journal()).at(-1);
  if (last === undefined) return false;
  const source = newest(await side.journal()).source;
  return source?.phase === "ACTIVE";
}

async function outcomeOf({ source, destination }: Pair): Promise<CellReport["outcome"]> {
  const [here, there] = await Promise.all([owns(source), owns(destination)]);
  if (here === there) return "unknown";
  return here ? "aborted" : "moved";
}

/** Each migration of the cell ended the same way on both sides. */
async function journalProblems(pair: Pair, before: Map<Side, number>): Promise<string[]> {
  const problems: string[] = [];
  const ends = new Map<string, Set<string>>();
  for (const side of [pair.source, pair.destination]) {
    const records = await side.journal();
    for (const { seq, state, role } of records) {
      if (seq <= (before.get(side) ?? 0) || state.migrationId === undefined) continue;
      const phases = ends.get(state.migrationId) ?? new Set();
      phases.add(`${role} ${state.phase}`);
      ends.set(state.migrationId, phases);
    }
  }
  for (const [id, phases] of ends) {
    const isRefused = phases.has("destination REFUSED") || phases.has("destination DISCARDED");
    if (phases.has("destination OWNER") && isRefused) problems.push(`${id}: OWNER and refused`);
    if (phases.has("source ACTIVE") && phases.has("source RETIRED")) {
      problems.push(`${id}: thawed and retired`);
    }
    if (phases.has("destination OWNER") && !phases.has("source COMMITTED")) {
      problems.push(`${id}: OWNER without COMMITTED`);
    }
  }
  return problems;
}

/** Exactly one copy runs, none is frozen, and nothing is there that a healthy side has not. */
async function leftovers(pair: Pair, healthy: Healthy, mayLack: boolean): Promise<string[]> {
  let found: string[] = [];
  const look = async () => {
    found = ["the look failed"];
    const [owner, away] = await Promise.all([
      takeSnapshot(pair.source, pair.destination.outer.ip),
      takeSnapshot(pair.destination, pair.source.outer.ip),
    ]);
    const running = owner.running + away.running;
    const frozen = owner.frozen + away.frozen;
    found = [
      ...(running === 1 && frozen === 0 ? [] : [`${running} run, ${frozen} are frozen`]),
      ...(owner.running === 1 ? [] : ["the owner does not run it"]),
      ...findLeftovers(owner, healthy.owner).map((line) => `owner has ${line}`),
      ...findLeftovers(away, healthy.away).map((line) => `other has ${line}`),
    ].filter((line) => !(mayLack && line.includes(" has less: ")));
    return found.length === 0;
  };
  await poll("nothing left over", look, { timeoutMs: tidyTimeoutMs, intervalMs: 250 }).catch(
    (error: unknown) => found.push(String(error)),
  );
  return found;
}

async function serviceProblems(cell: Cell, pair: Pair, client: CellClient): Promise<string[]> {
  const problems: string[] = [];
  const address = { host: pair.source.outer.ip, port: servicePort };
  const answer = await askOnce(address, "check");
  if (!answer.startsWith("ok ")) problems.push(`check: ${answer}`);
  if (cell.breaksConnection !== true) {
    const before = client.answered;
    const goesOn = () => client.problem !== undefined || client.answered > before + 1;
    await poll("the client's connection goes on", goesOn, { timeoutMs: clientTimeoutMs }).catch(
      (error: unknown) => problems.push(String(error)),
    );
    if (client.problem !== undefined) problems.push(`client: ${client.problem}`);
  }
  const problem = await outputProblem(pair);
  if (problem !== undefined) problems.push(`output: ${problem}`);
  return problems;
}

async function outputProblem(pair: Pair): Promise<string | undefined> {
  const outputs = await Promise.all(pair.sides.map((side) => side.outer.printed()));
  return findTimelineProblem(outputs, pair.expectedLives);
}

/** What healthy sides look like: before, between and after two migrations that nothing disturbs. */
export async function learnHealthy(pair: Pair): Promise<Healthy> {
  const healthy: Healthy = { owner: [], away: [] };
  const learn = async () => {
    healthy.owner.push(await takeSnapshot(pair.source, pair.destination.outer.ip));
    healthy.away.push(await takeSnapshot(pair.destination, pair.source.outer.ip));
  };
  await learn();
  // A destination that refused keeps network and holder ready for the next one.
  await pair.source.arm({ point: "source.do.prepare", action: "fail" });
  await pair.migrate(pair.source, pair.destination, defaultBudgetMs, defaultBoundMs);
  await poll("both sides at rest", () => isAtRest(pair), { timeoutMs: defaultBoundMs });
  await sleep(settleMs);
  await learn();
  // Its device is made when it is needed: not at once by a supervisor that was started again.
  const refused = healthy.away.at(-1);
  if (refused !== undefined) {
    const lines = refused.lines.filter((line) => line !== "link ums-out");
    healthy.away.push({ ...refused, lines });
  }
  for (let hop = 0; hop < 2; hop += 1) {
    await pair.source.outer.move(pair.destination.outer);
    pair.swap();
    await poll("both sides at rest", () => isAtRest(pair), { timeoutMs: defaultBoundMs });
    await sleep(settleMs);
    await learn();
  }
  await mkdir("build/faults", { recursive: true });
  await writeFile("build/faults/healthy.json", JSON.stringify(healthy, undefined, 1));
  return healthy;
}
