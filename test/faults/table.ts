/** The results as a table: a line for each fault and state. */
import type { CellResult } from "./runner.js";

/** Markdown, so that it can stand in docs/fault-matrix.md as it is. */
export function renderTable(results: readonly CellResult[]): string {
  const rows = results
    .map(({ cell, outcome, ms, code, problems }) => [
      cell.category,
      cell.fault,
      cell.state,
      problems.length === 0 ? outcome : `**failed** (${outcome})`,
      code ?? "",
      String(Math.round(ms)),
    ])
    .sort((a, b) => a.slice(0, 3).join().localeCompare(b.slice(0, 3).join()));
  const all = [["category", "fault", "state", "outcome", "error", "ms"], ...rows];
  const line = (cells: readonly string[]) => `| ${cells.join(" | ")} |`;
  const [head = [], ...body] = all;
  return [line(head), line(head.map(() => "---")), ...body.map(line), ""].join("\n");
}
