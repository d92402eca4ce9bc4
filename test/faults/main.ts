/**
 * Runs the fault matrix, or the cells whose title contains the words given:
 *
 *     node dist/test/faults/main.js [--workers N] [--fast] [WORD...]
 *
 * Prints a line for each cell as it ends, then the table, then `N passed, N failed`; writes
 * build/faults/results.json. The exit code is 1 when a cell failed or none ran.
 */
import { mkdir, writeFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import { openOuterLab } from "../lib/outer.js";
import { outerWithFixture } from "../lib/outer-image.js";
import { type Cell, titleOf } from "./cell.js";
import { cells } from "./cells/all.js";
import { openNetwork } from "./network.js";
import { type CellResult, runCells } from "./runner.js";
import { renderTable } from "./table.js";

const labName = process.env["UMS_TEST_LAB"] ?? "ums-faults";
const defaultWorkers = "3";

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    options: {
      workers: { type: "string", default: defaultWorkers },
      fast: { type: "boolean", default: false },
      list: { type: "boolean", default: false },
    },
    allowPositionals: true,
  });
  const chosen = cells.filter(
    (cell) =>
      (!values.fast || cell.isFast === true) &&
      positionals.every((word) => titleOf(cell).includes(word)),
  );
  if (values.list) return void chosen.map(titleOf).forEach((title) => void console.log(title));
  const startMs = performance.now();
  const results = await runChosen(chosen, Number(values.workers));
  const seconds = (performance.now() - startMs) / 1000;
  await mkdir("build/faults", { recursive: true });
  await writeFile("build/faults/results.json", `${JSON.stringify(results, undefined, 1)}\n`);
  console.log(`\n${renderTable(results)}`);
  const failed = results.filter(({ problems }) => problems.length > 0);
  for (const { cell, problems } of failed) {
    console.log(`FAIL ${titleOf(cell)}\n${problems.map((text) => `  ${text}\n`).join("")}`);
  }
  const passed = results.length - failed.length;
  console.log(`${results.length} cells in ${seconds.toFixed(0)} s`);
  console.log(`${passed} passed, ${failed.length} failed`);
  process.exitCode = failed.length > 0 || results.length === 0 ? 1 : 0;
}

async function runChosen(chosen: readonly Cell[], workers: number): Promise<CellResult[]> {
  // Before the network: what an earlier run left in it goes first.
  const lab = await openOuterLab(labName);
  const network = await openNetwork(labName);
  try {
    const image = await outerWithFixture("programs");
    let done = 0;
    return await runCells(chosen, {
      lab,
      network,
      image,
      workers: Math.min(workers, chosen.length),
      onResult: ({ cell, outcome, ms, problems }) => {
        done += 1;
        const verdict = problems.length === 0 ? "ok  " : "FAIL";
        const seconds = (ms / 1000).toFixed(1);
        console.log(
          `${verdict} ${done}/${chosen.length} ${titleOf(cell)}: ${outcome}, ${seconds} s`,
        );
        for (const problem of problems.slice(0, 8)) console.log(`       ${problem}`);
      },
    });
  } finally {
    await lab.close();
    await network.close();
  }
}

await main();
