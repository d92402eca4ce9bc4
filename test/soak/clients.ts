/** Clients of the service: each counts in Redis and judges every answer at once. */
import { poll, sleep } from "../../src/lib/deadline.js";
import { openRedis, type RedisClient } from "../lib/redis-client.js";
import type { Address } from "../lib/redis-load.js";

export type ClientKind = "established" | "new";

export interface ClientTotals {
  answered: number;
  /** Acknowledged counts that are gone. */
  lost: number;
  /** Counts that nobody asked for, or twice. */
  doubled: number;
  /** Requests and connections that ended with an error. */
  failed: number;
  /** The first few problems. */
  problems: string[];
}

export interface SoakClient {
  readonly name: string;
  readonly kind: ClientKind;
  readonly totals: ClientTotals;
  /** Longest time without an answer since the last call, milliseconds. */
  lap(): number;
  /** Ends it and compares all that was acknowledged with what the service has. */
  stop(): Promise<ClientTotals>;
}

const pausesMs: Record<ClientKind, number> = { established: 5, new: 100 };
/** Every so many counts one is also written to a list, which tells repeats from gaps at the end. */
const loggedEvery = 10;
const keptProblems = 5;

/** Counts over one connection opened now, or over a new one each time. */
export function startClient(name: string, address: Address, kind: ClientKind): SoakClient {
  return new Client(name, address, kind);
}

class Client implements SoakClient {
  readonly totals: ClientTotals = { answered: 0, lost: 0, doubled: 0, failed: 0, problems: [] };
  private readonly stopping = new AbortController();
  private readonly looping: Promise<void>;
  private redis: RedisClient | undefined;
  private count = 0;
  private logged = 0;
  private lastAnswerMs = performance.now();
  private longestMs = 0;

  constructor(
    readonly name: string,
    private readonly address: Address,
    readonly kind: ClientKind,
  ) {
    this.looping = this.loop();
  }

  lap(): number {
    const longestMs = Math.max(this.longestMs, performance.now() - this.lastAnswerMs);
    this.longestMs = 0;
    return longestMs;
  }

  async stop(): Promise<ClientTotals> {
    this.stopping.abort();
    await this.looping;
    await this.judgeLog();
    return this.totals;
  }

  private async loop(): Promise<void> {
    while (!this.stopping.signal.aborted) {
      try {
        this.redis ??= await openRedis(this.address);
        await this.step(this.redis);
      } catch (error) {
        this.totals.failed += 1;
        this.note(String(error));
        this.disconnect();
        await this.resume();
      }
      if (this.kind === "new") this.disconnect();
      await sleep(pausesMs[this.kind]);
    }
    this.disconnect();
  }

  private async step(redis: RedisClient): Promise<void> {
    const expected = this.count + 1;
    const counted = Number(await redis.call("INCR", `count:${this.name}`));
    const read = Number(await redis.call("GET", `count:${this.name}`));
    for (const seen of [counted, read]) this.judge(seen, expected);
    this.count = counted;
    if (counted % loggedEvery === 0) {
      this.logged += 1;
      await redis.call("RPUSH", `log:${this.name}`, String(this.logged));
    }
    this.totals.answered += 1;
    const nowMs = performance.now();
    this.longestMs = Math.max(this.longestMs, nowMs - this.lastAnswerMs);
    this.lastAnswerMs = nowMs;
  }

  private judge(seen: number, expected: number): void {
    if (seen === expected) return;
    if (seen < expected) this.totals.lost += expected - seen;
    else this.totals.doubled += seen - expected;
    this.note(`${this.name}: ${seen} where ${expected} belongs`);
  }

  /** Whether a request that failed was carried out is not known: goes on from what is there. */
  private async resume(): Promise<void> {
    try {
      const redis = await openRedis(this.address);
      this.count = Number(await redis.call("GET", `count:${this.name}`));
      this.logged = Number(await redis.call("LLEN", `log:${this.name}`));
      redis.close();
    } catch (error) {
      this.note(`${this.name}: ${error}`);
    }
  }

  private async judgeLog(): Promise<void> {
    const redis = await openRedis(this.address);
    try {
      const log = await redis.call("LRANGE", `log:${this.name}`, "0", "-1");
      const entries = Array.isArray(log) ? log.map(Number) : [];
      const distinct = new Set(entries).size;
      this.totals.doubled += entries.length - distinct;
      this.totals.lost += Math.max(0, this.logged - distinct);
      this.judge(Number(await redis.call("GET", `count:${this.name}`)), this.count);
    } finally {
      redis.close();
    }
  }

  private disconnect(): void {
    this.redis?.close();
    this.redis = undefined;
  }

  private note(problem: string): void {
    const { problems } = this.totals;
    if (problems.length < keptProblems) problems.push(`${new Date().toISOString()} ${problem}`);
  }
}

/** A connection on which nothing is said until the end. */
export interface QuietClient {
  /** Undefined when it still works, else what is wrong. */
  ask(): Promise<string | undefined>;
  close(): void;
}

export async function openQuietClient(address: Address): Promise<QuietClient> {
  const redis = await openRedis({ ...address, timeoutMs: 30_000 });
  await redis.call("PING");
  return {
    async ask() {
      try {
        await redis.call("PING");
        return undefined;
      } catch (error) {
        return String(error);
      }
    },
    close: () => redis.close(),
  };
}

/** Longer than a client waits for one answer, after which it connects anew. */
const answerTimeoutMs = 150_000;

/** Resolves when every client has had a further answer. @throws ERR_DEADLINE */
export async function whenAllAnswered(clients: readonly SoakClient[]): Promise<void> {
  const before = clients.map(({ totals }) => totals.answered);
  const isAnswered = () =>
    clients.every(({ totals }, index) => totals.answered > (before[index] ?? 0));
  await poll("every client has an answer", isAnswered, {
    timeoutMs: answerTimeoutMs,
    intervalMs: 20,
  });
}
