/** Works through the cells with several pairs at once: most of a cell is waiting. */
import type { OuterLab } from "../lib/outer.js";
import { type Cell, titleOf } from "./cell.js";
import { openDisk } from "./cells/disks.js";
import { keepEvidence } from "./evidence.js";
import { Pair, type PairDeps } from "./pair.js";
import { type CellReport, type Healthy, learnHealthy, runCell } from "./run-cell.js";

export interface CellResult extends CellReport {
  cell: Cell;
}

export interface RunnerOptions {
  lab: OuterLab;
  network: PairDeps["network"];
  image: string;
  workers: number;
  onResult(result: CellResult): void;
}

/** A pair that has worked so long is replaced: what it has printed is read after each cell. */
const cellsPerPair = 40;

export async function runCells(
  cells: readonly Cell[],
  options: RunnerOptions,
): Promise<CellResult[]> {
  const first = await Pair.open(options);
  const healthy = await learnHealthy(first);
  // The longest first, so that no worker ends long after the others.
  const waiting = [...cells].sort((a, b) => (b.boundMs ?? 0) - (a.boundMs ?? 0));
  const results: CellResult[] = [];
  const work = async (start: Pair | undefined) => {
    const worker = new Worker(options, healthy, start);
    for (let cell = waiting.shift(); cell !== undefined; cell = waiting.shift()) {
      const result = { cell, ...(await worker.run(cell)) };
      results.push(result);
      options.onResult(result);
    }
    await worker.close();
  };
  const rest = Array.from({ length: options.workers - 1 }, () => work(undefined));
  await Promise.all([work(first), ...rest]);
  return results;
}

class Worker {
  private used = 0;

  constructor(
    private readonly deps: PairDeps,
    private readonly healthy: Healthy,
    private pair: Pair | undefined,
  ) {}

  async run(cell: Cell): Promise<CellReport> {
    const startMs = performance.now();
    try {
      return cell.pair === undefined ? await this.runShared(cell) : await this.runOwn(cell);
    } catch (error) {
      await this.close();
      const ms = performance.now() - startMs;
      return { outcome: "unknown", ms, code: undefined, problems: [`${titleOf(cell)}: ${error}`] };
    }
  }

  async close(): Promise<void> {
    const { pair } = this;
    this.pair = undefined;
    this.used = 0;
    // Load can keep the engine from removing it now; the lab's end removes what is left.
    await pair?.close().catch((error: unknown) => console.error(String(error)));
  }

  private async runShared(cell: Cell): Promise<CellReport> {
    this.pair ??= await Pair.open(this.deps);
    const report = await runCell(cell, this.pair, this.healthy);
    this.used += 1;
    const isSpent = report.problems.length > 0 || this.pair.others.length > 0;
    if (report.problems.length > 0) await keepEvidence(cell, this.pair);
    if (isSpent || this.used >= cellsPerPair) await this.close();
    return report;
  }

  private async runOwn(cell: Cell): Promise<CellReport> {
    const { withDisk, ...options } = cell.pair ?? {};
    const disk = withDisk === undefined ? undefined : await openDisk();
    const flags = disk === undefined ? [] : ["-v", `${disk.path}:/var/lib/docker`];
    const given = withDisk === undefined ? {} : { [withDisk]: { ...options[withDisk], flags } };
    const pair = await Pair.open(this.deps, { ...options, ...given });
    try {
      const report = await runCell(cell, pair, this.healthy);
      if (report.problems.length > 0) await keepEvidence(cell, pair);
      return report;
    } finally {
      await pair.close().catch((error: unknown) => console.error(String(error)));
      await disk?.close();
    }
  }
}
