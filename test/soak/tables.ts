/** The report's tables as text. */
import { distributionOf } from "./figures.js";
import type { LeakRow } from "./leaks.js";

/** One row a series: how it is distributed. */
export function distributionTable(series: Record<string, readonly number[]>): string {
  const rows = Object.entries(series)
    .filter(([, values]) => values.length > 0)
    .map(([title, values]) => {
      const { min, p50, p90, p99, max } = distributionOf(values);
      return [title, String(values.length), ...[min, p50, p90, p99, max].map((v) => v.toFixed(0))];
    });
  return align([["", "samples", "min", "p50", "p90", "p99", "max"], ...rows]);
}

/** What changed between the warm-up and the end, or grows; the rest in one line. */
export function leakTable(leaks: readonly LeakRow[]): string {
  const shown = leaks.filter(
    ({ first, last, slope, fault }) =>
      fault !== undefined || first !== last || Math.abs(slope ?? 0) >= 0.01,
  );
  const rows = shown.map(({ place, name, first, last, most, slope, fault }) => [
    `${place} ${name}`,
    ...[first, last, most].map((value) => value.toFixed(0)),
    slope === undefined ? "-" : slope.toFixed(2),
    fault === undefined ? "" : "LEAK",
  ]);
  const same = leaks.length - shown.length;
  return [
    align([["", "first", "last", "most", "a move", ""], ...rows]),
    `${same} further figures are the same at the end as after the warm-up`,
  ].join("\n");
}

/** First column to the left, the others to the right. */
export function align(table: readonly (readonly string[])[]): string {
  const widths = (table[0] ?? []).map((_, column) =>
    Math.max(...table.map((row) => row[column]?.length ?? 0)),
  );
  const cell = (text: string, column: number) =>
    column === 0 ? text.padEnd(widths[column] ?? 0) : text.padStart(widths[column] ?? 0);
  return table.map((row) => row.map(cell).join("  ").trimEnd()).join("\n");
}
