/**
 * Two clients that keep asking while the service moves: one on a single connection, one that makes
 * a new connection for each request.
 */
import { poll, sleep } from "../../src/lib/deadline.js";
import { askOnce, openLineClient } from "../../test/lib/line-client.js";
import type { Experiment } from "./experiment.js";

export interface Address {
  host: string;
  port: number;
}

export interface LoadReport {
  requests: number;
  /** Longest time between two answers to the same client. */
  longestGapMs: number;
  /** Requests lost, repeated or failed, in words. */
  faults: string[];
}

export interface Load {
  /** Idempotent. */
  stop(): Promise<LoadReport>;
}

const pauseMs = 5;
/** Each connection leaves a socket in TIME_WAIT behind. */
const connectionPauseMs = 20;
const maxFaults = 10;
/** The programs listen only once their memory is written. */
const servingTimeoutMs = 120_000;

/** The service must be fresh: its answers are expected to count from 1. */
export async function startLoad(address: Address, request: Experiment["request"]): Promise<Load> {
  const answers: string[] = [];
  const faults: string[] = [];
  let isStopping = false;
  let longestGapMs = 0;

  const keepAsking = async (who: string, ask: () => Promise<string>, betweenMs: number) => {
    let lastMs = performance.now();
    while (!isStopping && faults.length < maxFaults) {
      try {
        answers.push(await ask());
        const nowMs = performance.now();
        longestGapMs = Math.max(longestGapMs, nowMs - lastMs);
        lastMs = nowMs;
      } catch (error) {
        faults.push(`${who}: ${(error as Error).message}`);
      }
      await sleep(betweenMs);
    }
  };

  const client = await openLineClient(address);
  const clients = Promise.all([
    keepAsking("established connection", () => client.ask(request), pauseMs),
    keepAsking("new connection", () => askOnce(address, request), connectionPauseMs),
  ]);
  const end = async (): Promise<LoadReport> => {
    isStopping = true;
    await clients;
    client.close();
    faults.push(...(request === "next" ? miscounted(answers) : unwell(answers)));
    return { requests: answers.length, longestGapMs, faults };
  };
  let ended: Promise<LoadReport> | undefined;
  return {
    stop() {
      ended ??= end();
      return ended;
    },
  };
}

/** Waits until the service listens. @returns what it says of its own state */
export async function untilServing(address: Address): Promise<string> {
  return await poll(
    `the service at ${address.host}:${address.port}`,
    async () => {
      try {
        return await askOnce(address, "check");
      } catch {
        // It does not listen yet: asked again.
        return undefined;
      }
    },
    { timeoutMs: servingTimeoutMs },
  );
}

/**
 * The service answers `next` with one more than the last answer to anybody, so all answers together
 * must be 1, 2, 3 and so on.
 */
export function miscounted(answers: readonly string[]): string[] {
  const numbers = answers.map(Number).sort((a, b) => a - b);
  const index = numbers.findIndex((number, at) => number !== at + 1);
  if (index === -1) return [];
  return [`answer ${numbers[index]} where ${index + 1} was due: a request was lost or repeated`];
}

function unwell(answers: readonly string[]): string[] {
  const bad = answers.find((answer) => !answer.startsWith("ok"));
  return bad === undefined ? [] : [`the service says: ${bad}`];
}
