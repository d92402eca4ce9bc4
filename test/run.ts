/**
 * Runs the compiled test files of the tiers named on the command line:
 *
 *     node dist/test/run.js unit integration [--only SUBSTRING]
 *
 * Each file gets a Node process of its own, because uvu never ends while a test has left a socket or
 * a timer open (lukeed/uvu#33), and a process can be killed. Only failing output is shown. The last
 * line is `N passed, N failed[, N skipped]`; the exit code is 1 when a test failed or none ran.
 */
import { readdir } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { join, relative } from "node:path";
import { start } from "../src/lib/exec.js";

interface Tier {
  limitMs: number;
  parallel: number;
}

const tiers: Record<string, Tier> = {
  unit: { limitMs: 60_000, parallel: 2 },
  integration: { limitMs: 600_000, parallel: 1 },
  e2e: { limitMs: 600_000, parallel: 1 },
};

const otherTier: Tier = { limitMs: 600_000, parallel: 1 };

/** Kept of one file's output, characters; the end, because that is where uvu prints failures. */
const outputLimitChars = 200_000;

/** See test/lib/suite.ts. */
const silentTrouble = "stopped early and exited with 0; does it use test/lib/suite.js?";

interface Counts {
  passed: number;
  failed: number;
  skipped: number;
}

interface FileResult extends Counts {
  output: string;
  /** Why the file counts as failed besides its failing tests. */
  trouble: string | undefined;
  skipLines: string[];
}

/** Process groups of the files running now; an interrupted run leaves none behind. */
type Running = Set<number>;

async function main(argv: string[]): Promise<void> {
  const { names, only } = parseArguments(argv);
  const running: Running = new Set();
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    process.once(signal, () => {
      for (const pid of running) killGroup(pid);
      process.exitCode = 1;
      process.kill(process.pid, signal);
    });
  }
  const total: Counts = { passed: 0, failed: 0, skipped: 0 };
  for (const name of names) {
    const files = await findTests(join(import.meta.dirname, name), only);
    await runTier(tiers[name] ?? otherTier, files, running, total);
  }
  if (total.passed + total.failed === 0 || total.failed > 0) process.exitCode = 1;
  const skipped = total.skipped === 0 ? "" : `, ${total.skipped} skipped`;
  console.log(`${total.passed} passed, ${total.failed} failed${skipped}`);
}

function parseArguments(argv: string[]): { names: string[]; only: string } {
  const names: string[] = [];
  let only = "";
  for (let index = 0; index < argv.length; index += 1) {
    const argument = argv[index] ?? "";
    if (argument === "--only") {
      index += 1;
      only = argv[index] ?? "";
    } else names.push(argument);
  }
  return { names: names.length === 0 ? ["unit"] : names, only };
}

async function findTests(directory: string, only: string): Promise<string[]> {
  const entries = await readdir(directory, { recursive: true }).catch(() => {
    // A tier without a folder has no tests; a run of nothing but such tiers fails in main().
    return [];
  });
  return entries
    .filter((entry) => entry.endsWith(".test.js"))
    .map((entry) => join(directory, entry))
    .filter((path) => relative(import.meta.dirname, path).includes(only))
    .sort();
}

async function runTier(tier: Tier, files: string[], running: Running, total: Counts) {
  const waiting = [...files];
  const worker = async () => {
    for (let file = waiting.shift(); file !== undefined; file = waiting.shift()) {
      const startMs = performance.now();
      const result = await runFile(file, tier.limitMs, running);
      report(file, result, (performance.now() - startMs) / 1000);
      total.passed += result.passed;
      total.failed += result.failed;
      total.skipped += result.skipped;
    }
  };
  const workers = Math.min(tier.parallel, availableParallelism());
  await Promise.all(Array.from({ length: workers }, worker));
}

function runFile(file: string, limitMs: number, running: Running): Promise<FileResult> {
  return new Promise((resolve) => {
    const child = start([process.execPath, "--enable-source-maps", file], {
      // A group of its own, so that what the file started dies with it.
      detached: true,
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...process.env, NO_COLOR: "1", FORCE_COLOR: "0" },
    });
    const { pid } = child;
    if (pid !== undefined) running.add(pid);
    let output = "";
    let isLate = false;
    const append = (chunk: Buffer) => {
      output = (output + chunk.toString()).slice(-outputLimitChars);
    };
    child.stdout?.on("data", append);
    child.stderr?.on("data", append);
    const timer = setTimeout(() => {
      isLate = true;
      if (pid !== undefined) killGroup(pid);
    }, limitMs);
    const finish = (trouble: string | undefined) => {
      clearTimeout(timer);
      if (pid !== undefined) running.delete(pid);
      resolve(judge(output, trouble));
    };
    child.once("error", (error) => finish(`did not start: ${error.message}`));
    // Not "close": a daemon the file left behind would hold the pipe open for ever.
    child.once("exit", (code, signal) => {
      setImmediate(() => {
        if (isLate) finish(`killed after ${limitMs / 1000} s`);
        else finish(code === 0 ? undefined : `exited with ${signal ?? code}`);
      });
    });
  });
}

/** Reads uvu's summaries (one per `uvu` run in the file) and the `skipped: reason` lines. */
function judge(output: string, exitTrouble: string | undefined): FileResult {
  const total = sum(output, /^ *Total: +(\d+)/gm);
  const passed = sum(output, /^ *Passed: +(\d+)/gm);
  const skipLines = output.split("\n").filter((line) => line.startsWith("skipped: "));
  // A test skipped by uvu usually says why on such a line: do not count it twice.
  const skipped = Math.max(sum(output, /^ *Skipped: +(\d+)/gm), skipLines.length);
  const ranNothing = total === 0 && skipped === 0;
  const failedTests = Math.max(0, total - passed);
  const isSilent = exitTrouble === undefined && failedTests > 0;
  const trouble =
    exitTrouble ?? (ranNothing ? "ran no test" : isSilent ? silentTrouble : undefined);
  const failed = trouble !== undefined && failedTests === 0 ? 1 : failedTests;
  return { passed, failed, skipped, output, trouble, skipLines };
}

function report(file: string, result: FileResult, seconds: number): void {
  const name = relative(import.meta.dirname, file);
  const counts = [
    `${result.passed} passed`,
    ...(result.failed > 0 ? [`${result.failed} failed`] : []),
    ...(result.skipped > 0 ? [`${result.skipped} skipped`] : []),
  ].join(", ");
  if (result.failed > 0) console.log(result.output.trimEnd());
  else for (const line of result.skipLines) console.log(`  ${line}`);
  const trouble = result.trouble === undefined ? "" : ` (${result.trouble})`;
  const verdict = result.failed > 0 ? "FAIL" : "ok  ";
  console.log(`${verdict} ${name}: ${counts}${trouble}, ${seconds.toFixed(1)} s`);
}

function sum(text: string, pattern: RegExp): number {
  let result = 0;
  for (const match of text.matchAll(pattern)) result += Number(match[1]);
  return result;
}

function killGroup(pid: number): void {
  try {
    process.kill(-pid, "SIGKILL");
  } catch {
    // ESRCH: it ended between the check and the kill.
  }
}

await main(process.argv.slice(2));
