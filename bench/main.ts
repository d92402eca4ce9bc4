/**
 * `make bench`, or `node dist/bench/main.js` with these options, from the root of the repository:
 *
 *     --sizes 0,128,256    memory of the service, MiB
 *     --processes 1,2,4,8  processes of the service
 *     --runs 3             of each experiment and method
 *     --only TEXT          experiments and methods whose `EXPERIMENT/METHOD` contains TEXT,
 *                          e.g. `memory-128`, `/ums`
 *     --output PATH        default bench/results.json, with --only build/bench-results.json
 *
 * Exit code 1 when a service came to harm or a client's request was lost; slowness is no failure.
 * docs/benchmarks.md explains what is measured and how.
 */
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { parseArgs } from "node:util";
import { run } from "../src/lib/exec.js";
import { openDockerCheckpoint } from "./docker-checkpoint.js";
import {
  type Experiment,
  fixture,
  labelOf,
  type Measurement,
  type Method,
  memoryExperiment,
  processesExperiment,
} from "./lib/experiment.js";
import { describeMachine, type Row, rowOf, summarize } from "./lib/results.js";
import { freezeProfile, missedBars, preparationProfile, resultTable } from "./lib/tables.js";
import { openUms } from "./ums.js";

interface Plan {
  experiments: Experiment[];
  runs: number;
  only: string;
  output: string;
}

async function main(argv: string[]): Promise<void> {
  const plan = parsePlan(argv);
  const directory = await mkdtemp(join(tmpdir(), "ums-bench-"));
  const methods: Method[] = [];
  const interrupted = new AbortController();
  const closeAll = async () => {
    await Promise.all(methods.map((method) => method.close()));
    await rm(directory, { recursive: true, force: true });
  };
  // What is under way fails when its containers go; the `finally` below then cleans up for good.
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    process.once(signal, () => {
      interrupted.abort();
      closeAll().catch((error) => console.error(error));
    });
  }
  try {
    const archive = join(directory, "image.tar");
    await run(["docker", "save", "--output", archive, `ums-fixture/${fixture}:latest`]);
    const wants = (name: string) =>
      plan.experiments.some((experiment) => isWanted(plan, experiment, name));
    if (wants("ums")) methods.push(await openUms(archive));
    if (wants("docker-checkpoint")) methods.push(await openDockerCheckpoint(archive, directory));
    interrupted.signal.throwIfAborted();
    const { rows, faults } = await measureAll(plan, methods, interrupted.signal);
    await report(plan, rows, faults);
  } catch (error) {
    if (!interrupted.signal.aborted) throw error;
    console.error("interrupted");
    process.exitCode = 130;
  } finally {
    await closeAll();
  }
}

function parsePlan(argv: string[]): Plan {
  const { values } = parseArgs({
    args: argv,
    options: {
      sizes: { type: "string", default: "0,128,256" },
      processes: { type: "string", default: "1,2,4,8" },
      runs: { type: "string", default: "3" },
      only: { type: "string", default: "" },
      output: { type: "string" },
    },
  });
  const { only } = values;
  return {
    experiments: [
      ...parseNumbers("--sizes", values.sizes).map(memoryExperiment),
      ...parseNumbers("--processes", values.processes).map(processesExperiment),
    ],
    runs: parseNumbers("--runs", values.runs)[0] ?? 1,
    only,
    output: values.output ?? (only === "" ? "bench/results.json" : "build/bench-results.json"),
  };
}

function parseNumbers(option: string, text: string): number[] {
  const numbers = text.split(",").map(Number);
  if (numbers.every((number) => Number.isInteger(number) && number >= 0)) return numbers;
  throw new TypeError(`${option} ${text}: whole numbers, separated by commas`);
}

function isWanted({ only }: Plan, experiment: Experiment, method: string): boolean {
  return `${labelOf(experiment)}/${method}`.includes(only);
}

/** The methods take turns, so that a change in what else the machine does meets them all. */
async function measureAll(plan: Plan, methods: Method[], signal: AbortSignal) {
  const rows: Row[] = [];
  const faults: string[] = [];
  const measure = async (experiment: Experiment, method: Method, which: string) => {
    signal.throwIfAborted();
    const measured = await method.measure(experiment);
    const title = `${labelOf(experiment)}/${method.name} ${which}`;
    console.log(oneLine(title, measured));
    faults.push(...measured.faults.map((fault) => `${title}: ${fault}`));
    return measured;
  };
  for (const method of methods) {
    const experiment = largest(plan.experiments.filter((one) => isWanted(plan, one, method.name)));
    if (experiment !== undefined) await measure(experiment, method, "warm-up, dropped");
  }
  for (const experiment of plan.experiments) {
    for (let number = 1; number <= plan.runs; number += 1) {
      for (const method of methods) {
        if (!isWanted(plan, experiment, method.name)) continue;
        const measured = await measure(experiment, method, `run ${number}`);
        rows.push(rowOf(experiment, method.name, number, measured));
      }
    }
  }
  return { rows, faults };
}

/** The first touch of memory is slow in a virtual machine: the warm-up touches the most. */
function largest(experiments: readonly Experiment[]): Experiment | undefined {
  return [...experiments].sort((a, b) => b.memoryMib - a.memoryMib)[0];
}

function oneLine(title: string, { totalMs, freezeMs, gapMs, faults }: Measurement): string {
  const gap = gapMs === null ? "" : `, gap ${gapMs.toFixed(0)} ms`;
  const state = faults.length === 0 ? "" : ` FAULTY: ${faults.join("; ")}`;
  return `${title}: total ${totalMs.toFixed(0)} ms, freeze ${freezeMs.toFixed(0)} ms${gap}${state}`;
}

async function report(plan: Plan, rows: readonly Row[], faults: readonly string[]) {
  const summaries = summarize(rows);
  const { cpu, cores, kernel } = describeMachine();
  console.log(`\n${cpu}, ${cores} cores, Linux ${kernel}; medians of ${plan.runs} runs`);
  console.log(resultTable(summaries));
  if (summaries.some(({ method }) => method === "ums")) {
    console.log(`\n${freezeProfile(summaries)}\n\n${preparationProfile(summaries)}`);
  }
  const missed = missedBars(summaries);
  console.log(missed.length === 0 ? "\nevery bar is met" : `\nbars missed:\n${missed.join("\n")}`);
  await mkdir(dirname(plan.output), { recursive: true });
  await writeFile(plan.output, `${JSON.stringify(rows, undefined, 2)}\n`);
  console.log(`wrote ${plan.output}`);
  if (faults.length === 0) return;
  console.error(`FAULTS:\n${faults.join("\n")}`);
  process.exitCode = 1;
}

await main(process.argv.slice(2));
