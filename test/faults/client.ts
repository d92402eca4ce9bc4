/** A client of the counter that stays connected while faults happen, however long an answer takes. */
import { sleep } from "../../src/lib/deadline.js";
import { type LineClient, openLineClient } from "../lib/line-client.js";

export interface CellClient {
  readonly answered: number;
  /** What went wrong so far: a number that repeats or skips, or the connection's end. */
  readonly problem: string | undefined;
  /** Waits for the answer under way: a late request would look like a lost one to the next client. */
  close(): Promise<void>;
}

const pauseMs = 10;
/** Longer than any cell. */
const answerTimeoutMs = 400_000;
/** Of a connection that the cell may have broken. */
const lastAnswerMs = 5_000;

export async function openCellClient(address: { host: string; port: number }): Promise<CellClient> {
  const client = await openLineClient(address);
  const state = { answered: 0, problem: undefined as string | undefined };
  const closing = new AbortController();
  const asking = ask(client, state, closing.signal).catch((error: unknown) => {
    if (!closing.signal.aborted) state.problem ??= String(error);
  });
  return {
    get answered() {
      return state.answered;
    },
    get problem() {
      return state.problem;
    },
    async close() {
      closing.abort();
      await Promise.race([asking, sleep(lastAnswerMs)]);
      client.close();
    },
  };
}

async function ask(
  client: LineClient,
  state: { answered: number; problem: string | undefined },
  signal: AbortSignal,
): Promise<void> {
  let last: number | undefined;
  while (!signal.aborted) {
    const number = Number(await client.ask("next", answerTimeoutMs));
    if (last !== undefined && number !== last + 1) state.problem ??= `${number} after ${last}`;
    last = number;
    state.answered += 1;
    await sleep(pauseMs, signal);
  }
}
