/** What a Redis holds and what its clients see, for judging a migration from outside. */
import { createHash } from "node:crypto";
import { poll, sleep } from "../../src/lib/deadline.js";
import { openRedis, type RedisClient } from "./redis-client.js";

export interface Address {
  host: string;
  port: number;
}

/** Keys in one round trip. */
const batchKeys = 1_000;

/** Connects once the server answers. */
export async function whenRedisAnswers(address: Address): Promise<RedisClient> {
  const probe = async () => {
    const redis = await openRedis({ ...address, timeoutMs: 5_000 });
    try {
      await redis.call("PING");
    } finally {
      redis.close();
    }
    return true;
  };
  await poll("Redis answers", () => probe().catch(() => false), { timeoutMs: 30_000 });
  return await openRedis(address);
}

/** Sets `count` keys to values that can be computed again. */
export async function fillKeys(redis: RedisClient, count: number): Promise<void> {
  for (const batch of batches(count)) {
    await redis.call("MSET", ...batch.flatMap((index) => [keyOf(index), expectedValue(index)]));
  }
}

/** How many of the keys are missing or have another value. */
export async function countLostKeys(redis: RedisClient, count: number): Promise<number> {
  let lost = 0;
  for (const batch of batches(count)) {
    const values = await redis.call("MGET", ...batch.map(keyOf));
    if (!Array.isArray(values)) throw new TypeError("MGET answers with an array");
    lost += batch.filter((index, position) => values[position] !== expectedValue(index)).length;
  }
  return lost;
}

export interface CounterReport {
  /** Requests that were answered rightly. */
  answered: number;
  /** Answers that were not the next number, and acknowledged counts that are gone. */
  lost: number;
  /** Requests that ended with an error. */
  failed: number;
  /** Longest time from one right answer to the next, milliseconds. */
  gapMs: number;
  /** The first few errors. */
  errors: string[];
}

export interface CounterClient {
  /** Requests that were answered rightly so far. */
  readonly answered: number;
  stop(): Promise<CounterReport>;
}

/** Between two requests of one client. */
const pauseMs = 2;
const keptErrors = 5;

/**
 * Increments and reads a counter without pause until it is stopped: over one connection opened
 * now, or over a new one each time.
 */
export function startCounter(
  address: Address,
  { key, isReconnecting }: { key: string; isReconnecting: boolean },
): CounterClient {
  const report: CounterReport = { answered: 0, lost: 0, failed: 0, gapMs: 0, errors: [] };
  const stopping = new AbortController();
  let lastAnswerMs = performance.now();

  const step = async (redis: RedisClient) => {
    const expected = report.answered + 1;
    const counted = await redis.call("INCR", key);
    const read = await redis.call("GET", key);
    if (counted !== expected || read !== String(expected)) {
      report.lost += 1;
      note(report, `expected ${expected}, got ${counted} and ${read}`);
    }
    report.answered = expected;
    const nowMs = performance.now();
    report.gapMs = Math.max(report.gapMs, nowMs - lastAnswerMs);
    lastAnswerMs = nowMs;
  };
  const loop = async () => {
    let redis: RedisClient | undefined;
    while (!stopping.signal.aborted) {
      try {
        redis ??= await openRedis(address);
        await step(redis);
      } catch (error) {
        report.failed += 1;
        note(report, String(error));
        redis?.close();
        redis = undefined;
      }
      if (isReconnecting) {
        redis?.close();
        redis = undefined;
      }
      await sleep(pauseMs);
    }
    redis?.close();
  };
  const looping = loop();
  return {
    get answered() {
      return report.answered;
    },
    async stop() {
      stopping.abort();
      await looping;
      return report;
    },
  };
}

function note(report: CounterReport, error: string): void {
  if (report.errors.length < keptErrors) report.errors.push(error);
}

function* batches(count: number): Generator<number[]> {
  for (let start = 0; start < count; start += batchKeys) {
    const length = Math.min(batchKeys, count - start);
    yield Array.from({ length }, (_, offset) => start + offset);
  }
}

function keyOf(index: number): string {
  return `key:${index}`;
}

function expectedValue(index: number): string {
  return createHash("sha1").update(`value ${index}`).digest("hex");
}
