/** Watching the `counter` program and its like (images/fixtures) from outside. */
import { sleep } from "../../src/lib/deadline.js";
import { whenAnswering } from "./line-client.js";

export interface WatchReport {
  /** Requests answered. */
  answered: number;
  /** Answers that repeated or skipped a number, and errors: the first few. */
  problems: string[];
  /** Longest time from one answer to the next, milliseconds. */
  gapMs: number;
}

export interface Watch {
  readonly answered: number;
  stop(): Promise<WatchReport>;
}

const pauseMs = 2;
const keptProblems = 5;

/**
 * Asks `next` without pause on one connection until it is stopped or the connection breaks.
 * @param answerTimeoutMs longest freeze that is no error
 */
export async function watchCounter(
  address: { host: string; port: number },
  answerTimeoutMs = 30_000,
): Promise<Watch> {
  const client = await whenAnswering(address);
  const report: WatchReport = { answered: 0, problems: [], gapMs: 0 };
  const stopping = new AbortController();
  const note = (problem: string) => {
    if (report.problems.length < keptProblems) report.problems.push(problem);
  };
  const loop = async () => {
    let last: number | undefined;
    let lastMs = performance.now();
    while (!stopping.signal.aborted) {
      const number = Number(await client.ask("next", answerTimeoutMs));
      if (last !== undefined && number !== last + 1) note(`${number} came after ${last}`);
      last = number;
      report.answered += 1;
      const nowMs = performance.now();
      report.gapMs = Math.max(report.gapMs, nowMs - lastMs);
      lastMs = nowMs;
      await sleep(pauseMs);
    }
  };
  const looping = loop().catch((error: unknown) => note(String(error)));
  return {
    get answered() {
      return report.answered;
    },
    async stop() {
      stopping.abort();
      await looping;
      client.close();
      return report;
    },
  };
}

/**
 * What is wrong with the counts that a service printed at its places, in the order of its stays;
 * undefined when they are 1, 2, 3 ... with none missing, none twice.
 *
 * @param outputs the whole output of each place; a last line that is not complete yet is left out
 */
export function findCountProblem(outputs: readonly string[]): string | undefined {
  const counts = outputs.flatMap((output) =>
    output
      .slice(0, output.lastIndexOf("\n") + 1)
      .split("\n")
      .filter((line) => line !== "")
      .map((line) => Number(line.split(" ")[0])),
  );
  if (counts.length === 0) return "nothing was printed";
  counts.sort((a, b) => a - b);
  const wrong = counts.findIndex((count, index) => count !== index + 1);
  return wrong === -1 ? undefined : `count ${counts[wrong]} stands where ${wrong + 1} belongs`;
}
