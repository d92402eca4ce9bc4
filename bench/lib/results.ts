/** Rows of bench/results.json. */
import { availableParallelism, cpus, release } from "node:os";
import { type Experiment, labelOf, type Measurement, type MethodName } from "./experiment.js";

export interface Row extends Omit<Measurement, "faults"> {
  experiment: Experiment["name"];
  /** How the service is carried. */
  approach: "container";
  method: MethodName;
  memoryMib: number;
  processes: number;
  /** Counts from 1 for each experiment and method. */
  run: number;
  /** ISO 8601, UTC. */
  date: string;
  machine: Machine;
}

export interface Machine {
  cpu: string;
  cores: number;
  kernel: string;
}

export function describeMachine(): Machine {
  return { cpu: cpus()[0]?.model ?? "unknown", cores: availableParallelism(), kernel: release() };
}

export function rowOf(
  experiment: Experiment,
  method: MethodName,
  runNumber: number,
  measured: Measurement,
): Row {
  return {
    experiment: experiment.name,
    approach: "container",
    method,
    memoryMib: experiment.memoryMib,
    processes: experiment.processes,
    totalMs: tenths(measured.totalMs),
    freezeMs: tenths(measured.freezeMs),
    gapMs: measured.gapMs === null ? null : tenths(measured.gapMs),
    bytesSent: measured.bytesSent,
    peakBytes: measured.peakBytes,
    sourcePeakBytes: measured.sourcePeakBytes,
    timingsMs: Object.fromEntries(
      Object.entries(measured.timingsMs).map(([step, ms]) => [step, tenths(ms)]),
    ),
    run: runNumber,
    date: new Date().toISOString(),
    machine: describeMachine(),
  };
}

/** All runs of one method at one point, as medians. */
export interface Summary {
  /** As {@link labelOf}. */
  label: string;
  experiment: Experiment["name"];
  method: MethodName;
  memoryMib: number;
  runs: number;
  totalMs: number;
  freezeMs: number;
  gapMs: number | null;
  bytesSent: number;
  peakBytes: number;
  sourcePeakBytes: number;
  timingsMs: Record<string, number>;
}

/** In the order in which the points were first measured. */
export function summarize(rows: readonly Row[]): Summary[] {
  const groups = new Map<string, Row[]>();
  for (const row of rows) {
    const key = `${row.experiment} ${row.memoryMib} ${row.processes} ${row.method}`;
    groups.set(key, [...(groups.get(key) ?? []), row]);
  }
  return [...groups.values()].map(summaryOf);
}

function summaryOf(rows: Row[]): Summary {
  const [first] = rows;
  if (first === undefined) throw new TypeError("no rows");
  const { experiment, method, memoryMib, processes } = first;
  const of = (value: (row: Row) => number) => median(rows.map(value));
  const gaps = rows.flatMap(({ gapMs }) => (gapMs === null ? [] : [gapMs]));
  const steps = new Set(rows.flatMap(({ timingsMs }) => Object.keys(timingsMs)));
  return {
    label: labelOf({ name: experiment, memoryMib, processes }),
    experiment,
    method,
    memoryMib,
    runs: rows.length,
    totalMs: of(({ totalMs }) => totalMs),
    freezeMs: of(({ freezeMs }) => freezeMs),
    gapMs: gaps.length === 0 ? null : median(gaps),
    bytesSent: of(({ bytesSent }) => bytesSent),
    peakBytes: of(({ peakBytes }) => peakBytes),
    sourcePeakBytes: of(({ sourcePeakBytes }) => sourcePeakBytes),
    timingsMs: Object.fromEntries(
      [...steps].map((step) => [step, of(({ timingsMs }) => timingsMs[step] ?? 0)]),
    ),
  };
}

/** Of an even number of values the mean of the middle two. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const upper = sorted[Math.floor(sorted.length / 2)];
  const lower = sorted[Math.ceil(sorted.length / 2) - 1];
  if (upper === undefined || lower === undefined) throw new TypeError("the median of nothing");
  return (upper + lower) / 2;
}

function tenths(ms: number): number {
  return Math.round(ms * 10) / 10;
}
