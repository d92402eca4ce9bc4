import { once } from "node:events";
import { start } from "../../src/lib/exec.js";
import type { OuterContainer } from "../lib/outer.js";

export interface VisibleResult {
  totalMs: number;
  freezeMs: number;
}

/**
 * Runs `ums migrate` as an operator does and shows what it prints: live on a terminal, a line a
 * phase elsewhere. The figures are read from its summary.
 * @throws when the service has not moved
 */
export async function migrateVisibly(source: OuterContainer, to: string): Promise<VisibleResult> {
  const terminal = process.stdout.isTTY ? ["-t"] : [];
  const command = ["ums", "migrate", "--to", to];
  console.log(`demo: docker exec ${source.name} ${command.join(" ")}`);
  const child = start(["docker", "exec", ...terminal, source.name, ...command], {
    stdio: ["inherit", "pipe", "inherit"],
  });
  let output = "";
  child.stdout?.on("data", (bytes: Buffer) => {
    output += bytes.toString();
    process.stdout.write(bytes);
  });
  const [exitCode] = (await once(child, "close")) as [number | null];
  const summary = /total (\d+\.\d+) s, frozen (\d+) ms/.exec(output);
  if (exitCode !== 0 || summary === null) {
    throw new Error(`ums migrate ended with exit code ${exitCode}`);
  }
  return { totalMs: Number(summary[1]) * 1000, freezeMs: Number(summary[2]) };
}
