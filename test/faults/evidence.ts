/** What is kept of a cell that failed: the supervisors' logs and the journals, to be read by people. */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { finish } from "../lib/command.js";
import { type Cell, titleOf } from "./cell.js";
import type { Pair } from "./pair.js";

/** Below build/, which is not committed. */
const root = "build/faults";
const logLines = "2000";

export async function keepEvidence(cell: Cell, pair: Pair): Promise<void> {
  const directory = join(root, titleOf(cell).replace(/[^\w.-]+/g, "_"));
  await mkdir(directory, { recursive: true });
  for (const side of pair.sides) {
    const { stderr } = await finish(["docker", "logs", "--tail", logLines, side.name]);
    await writeFile(join(directory, `${side.name}.log`), stderr);
    const journal = await side.journal().catch((error: unknown) => [String(error)]);
    const lines = journal.map((record) => `${JSON.stringify(record)}\n`);
    await writeFile(join(directory, `${side.name}.journal`), lines.join(""));
  }
}
