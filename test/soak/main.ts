/**
 * `make soak`: moves a Redis SOAK_MOVES times (default 200) between three outer containers on this
 * machine's engine while clients use it, then says what was lost, doubled or leaked (docs/soak.md).
 * Writes every move and sample to build/soak.json. The last line is `N passed, N failed`; the exit
 * code is 1 when a check failed. Leaves nothing behind.
 */
import { mkdir, writeFile } from "node:fs/promises";
import { openOuterLab } from "../lib/outer.js";
import type { FailedMove, MoveRecord } from "./moves.js";
import { readOptions } from "./options.js";
import { type Check, describe, judge } from "./report.js";
import { runSoak } from "./soak.js";

async function main(): Promise<number> {
  const options = readOptions(process.env);
  const stopping = new AbortController();
  const stopped = new Promise<never>((_, reject) => {
    for (const signal of ["SIGINT", "SIGTERM"] as const) {
      process.on(signal, () => {
        if (stopping.signal.aborted) reject(new Error(`stopped by ${signal}`));
        else say(`${signal}: going to the last round; once more to end now`);
        stopping.abort();
      });
    }
  });
  say(`${options.moves} moves, SOAK_SEED=${options.seed}`);
  const lab = await openOuterLab("ums-soak");
  let checks: Check[];
  try {
    const result = await Promise.race([
      runSoak(lab, options, { moved, say, stop: stopping.signal }),
      stopped,
    ]);
    await mkdir("build", { recursive: true });
    await writeFile("build/soak.json", JSON.stringify({ options, ...result }, null, 1));
    console.log(describe(result));
    checks = judge(result, options);
  } catch (error) {
    const fault = error instanceof Error ? error.message : String(error);
    checks = [{ name: "the run comes to its end", fault }];
  } finally {
    await lab.close();
  }
  for (const { name, fault } of checks) {
    say(fault === undefined ? `ok      ${name}` : `FAILED  ${name}: ${fault}`);
  }
  const failed = checks.filter(({ fault }) => fault !== undefined).length;
  console.log(`${checks.length - failed} passed, ${failed} failed`);
  return failed === 0 ? 0 : 1;
}

function moved(count: number, record: MoveRecord | FailedMove): void {
  const way = `${count} ${record.from} -> ${record.to}`;
  if (!("totalMs" in record)) {
    say(`${way} FAILED ${record.code}: ${record.reason}`);
    return;
  }
  const { totalMs, freezeMs, gapsMs } = record;
  const gapMs = Math.max(...gapsMs.map(({ ms }) => ms));
  const figures = [totalMs, freezeMs, gapMs].map((ms) => ms.toFixed(0));
  say(`${way} total ${figures[0]} ms, frozen ${figures[1]} ms, longest gap ${figures[2]} ms`);
}

function say(text: string): void {
  console.log(`soak: ${text}`);
}

process.exit(await main());
