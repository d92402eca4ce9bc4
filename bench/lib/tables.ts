/** Results as text. */
import type { Summary } from "./results.js";

const mib = 1024 ** 2;

/** Medians of each experiment and method, with the ratio of the totals. */
export function resultTable(summaries: readonly Summary[]): string {
  const head = ["experiment", "method", "runs", "total s", "freeze s", "gap s", "sent MiB"];
  const rows = summaries.map((summary) => [
    summary.label,
    summary.method,
    String(summary.runs),
    seconds(summary.totalMs),
    seconds(summary.freezeMs),
    summary.gapMs === null ? "-" : seconds(summary.gapMs),
    (summary.bytesSent / mib).toFixed(1),
    (summary.peakBytes / mib).toFixed(0),
    (summary.sourcePeakBytes / mib).toFixed(0),
    ratioOf(summary, summaries),
  ]);
  return align([[...head, "peak MiB", "at source", "faster by"], ...rows]);
}

/** How many times less time than with `docker checkpoint`; empty where that was not measured. */
function ratioOf(summary: Summary, summaries: readonly Summary[]): string {
  const other = counterpart(summary, summaries);
  return other === undefined ? "" : `${(other.totalMs / summary.totalMs).toFixed(1)} x`;
}

function counterpart(summary: Summary, summaries: readonly Summary[]): Summary | undefined {
  if (summary.method !== "ums") return undefined;
  return summaries.find(
    ({ label, method }) => label === summary.label && method === "docker-checkpoint",
  );
}

/** Steps that follow one another while the service stands still, each with the steps inside. */
const freezeSteps: Record<string, readonly string[]> = {
  freeze: [],
  dump: ["dump.criu", "dump.files", "dump.flows"],
  prepare: ["destination.verify", "destination.restore"],
  commit: ["destination.thaw"],
};

/** Which step took how much of the freeze, in milliseconds, one column an experiment. */
export function freezeProfile(summaries: readonly Summary[]): string {
  const columns = summaries.filter(({ method }) => method === "ums");
  const line = (title: string, value: (summary: Summary) => number) => [
    title,
    ...columns.map((summary) => value(summary).toFixed(0)),
  ];
  const step = (title: string, name: string) =>
    line(title, ({ timingsMs }) => timingsMs[name] ?? 0);
  const rest = ({ freezeMs, timingsMs }: Summary) =>
    Object.keys(freezeSteps).reduce((left, name) => left - (timingsMs[name] ?? 0), freezeMs);
  return align([
    ["freeze, ms", ...columns.map(({ label }) => label)],
    ...Object.entries(freezeSteps).flatMap(([name, inner]) => [
      step(name, name),
      ...inner.map((part) => step(`  ${part}`, part)),
    ]),
    line("journal and the rest", rest),
    line("all", ({ freezeMs }) => freezeMs),
  ]);
}

/** The steps before the freeze, in milliseconds, one column an experiment. */
export function preparationProfile(summaries: readonly Summary[]): string {
  const columns = summaries.filter(({ method }) => method === "ums");
  const during = new Set(Object.entries(freezeSteps).flatMap(([name, inner]) => [name, ...inner]));
  const steps = new Set(columns.flatMap(({ timingsMs }) => Object.keys(timingsMs)));
  const others = [...steps].filter((name) => !during.has(name));
  return align([
    ["outside of it, ms", ...columns.map(({ label }) => label)],
    ...others.map((name) => [
      name,
      ...columns.map(({ timingsMs }) => (timingsMs[name] ?? 0).toFixed(0)),
    ]),
  ]);
}

/** What the project holds itself to (docs/benchmarks.md). */
const bars = {
  /** The first two are for services up to this size, MiB. */
  maxMemoryMib: 128,
  freezeMs: 600,
  totalMs: 2_500,
  timesFaster: 8,
  /**
   * Besides the process and one copy of its pages, bytes: CRIU, rsync, Node's heaps and buffers. A
   * service without memory needs 76 MiB at the source (measured), most of it the CLI's own Node.
   */
  overheadBytes: 96 * mib,
};

/** One line a bar that is missed; a missed bar is no failure, machines differ. */
export function missedBars(summaries: readonly Summary[]): string[] {
  return summaries.flatMap((summary) => {
    if (summary.method !== "ums") return [];
    const missed: string[] = [];
    const check = (what: string, value: number, limit: number, unit: string) => {
      if (value <= limit) return;
      missed.push(`${summary.label}: ${what} ${value.toFixed(1)} ${unit}, bar ${limit} ${unit}`);
    };
    if (summary.memoryMib <= bars.maxMemoryMib) {
      check("freeze", summary.freezeMs, bars.freezeMs, "ms");
      check("total", summary.totalMs, bars.totalMs, "ms");
    }
    const atDestination = summary.memoryMib * mib + bars.overheadBytes;
    check("memory at the destination", summary.peakBytes / mib, atDestination / mib, "MiB");
    check("memory at the source", summary.sourcePeakBytes / mib, bars.overheadBytes / mib, "MiB");
    const other = counterpart(summary, summaries);
    if (other !== undefined && other.totalMs < bars.timesFaster * summary.totalMs) {
      const times = (other.totalMs / summary.totalMs).toFixed(1);
      missed.push(`${summary.label}: ${times} times faster, bar ${bars.timesFaster}`);
    }
    return missed;
  });
}

function seconds(ms: number): string {
  return (ms / 1_000).toFixed(2);
}

/** First column to the left, the others to the right. */
function align(table: readonly (readonly string[])[]): string {
  const widths = (table[0] ?? []).map((_, column) =>
    Math.max(...table.map((row) => row[column]?.length ?? 0)),
  );
  return table
    .map((row) =>
      row
        .map((cell, column) =>
          column === 0 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0),
        )
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}
