/**
 * When a Frontman is no longer needed: a pure decision from facts, and a watch that gathers them.
 * Each condition that was asked for is enough by itself; without any it stays for ever.
 */
import { resolve4 } from "node:dns/promises";
import { isIP } from "node:net";
import { sleep } from "../lib/deadline.js";
import type { Logger } from "../lib/log.js";

export interface DisposalPolicy {
  /** Name that clients look up; over when it shows the new endpoint alone, and its TTL has passed. */
  dnsName?: string | undefined;
  /** Over when nobody has used the way through here for so long. */
  idleMs?: number | undefined;
  /** Over so long after the service has left, whatever goes on. */
  deadlineMs?: number | undefined;
}

/** What is seen at one moment. Times are of one monotonic clock, milliseconds. */
export interface DisposalFacts {
  nowMs: number;
  /** When the service had left. */
  departedMs: number;
  flows: number;
  /** When a flow was seen last, or the service left. */
  lastFlowMs: number;
  /** Undefined: not looked up, or not with success. */
  dns?: DnsFacts | undefined;
}

export interface DnsFacts {
  /** The name has shown the new addresses alone since then; undefined: it does not yet. */
  newSinceMs: number | undefined;
  /** Longest time that an old answer, given just before, is kept by a resolver. */
  oldTtlMs: number;
}

export interface Disposal {
  isOver: boolean;
  /** One clause for people: why it goes on, or why it is over. */
  reason: string;
}

export function decideDisposal(policy: DisposalPolicy, facts: DisposalFacts): Disposal {
  const waits: string[] = [];
  for (const judge of [judgeDeadline, judgeIdle, judgeDns]) {
    const judged = judge(policy, facts);
    if (judged?.isOver) return judged;
    if (judged !== undefined) waits.push(judged.reason);
  }
  const reason = waits.length === 0 ? "it stays until it is deleted" : waits.join("; ");
  return { isOver: false, reason };
}

type Judge = (policy: DisposalPolicy, facts: DisposalFacts) => Disposal | undefined;

const judgeDeadline: Judge = ({ deadlineMs }, { nowMs, departedMs }) => {
  if (deadlineMs === undefined) return undefined;
  const leftMs = departedMs + deadlineMs - nowMs;
  if (leftMs <= 0) return { isOver: true, reason: `${seconds(deadlineMs)} s have passed` };
  return { isOver: false, reason: `at most ${seconds(leftMs)} s more` };
};

const judgeIdle: Judge = ({ idleMs }, { nowMs, flows, lastFlowMs }) => {
  if (idleMs === undefined) return undefined;
  if (flows > 0) return { isOver: false, reason: `${flows} connections are open` };
  const leftMs = lastFlowMs + idleMs - nowMs;
  if (leftMs > 0) return { isOver: false, reason: `idle for ${seconds(leftMs)} s more` };
  return { isOver: true, reason: `no connection for ${seconds(idleMs)} s` };
};

const judgeDns: Judge = ({ dnsName }, { nowMs, dns }) => {
  if (dnsName === undefined) return undefined;
  if (dns === undefined) return { isOver: false, reason: `${dnsName} could not be looked up` };
  if (dns.newSinceMs === undefined) {
    return { isOver: false, reason: `${dnsName} does not show the new endpoint alone` };
  }
  const leftMs = dns.newSinceMs + dns.oldTtlMs - nowMs;
  if (leftMs > 0) {
    return { isOver: false, reason: `resolvers may keep the old ${dnsName} ${seconds(leftMs)} s` };
  }
  return { isOver: true, reason: `${dnsName} shows the new endpoint and its TTL has passed` };
};

function seconds(ms: number): number {
  return Math.ceil(ms / 1000);
}

export interface DnsAnswer {
  /** IP addresses. */
  addresses: readonly string[];
  ttlSeconds: number;
}

export interface DisposalDeps {
  policy: DisposalPolicy;
  /** Host of the new endpoint: a name or an address. */
  newHost: string;
  /** Connections that use the way through here now. */
  activeFlows(): number | Promise<number>;
  resolve?: (name: string) => Promise<DnsAnswer>;
  /** Monotonic, milliseconds. */
  nowMs?: () => number;
  intervalMs?: number;
  log: Logger;
  signal: AbortSignal;
}

/** A look at the facts each time it is asked. */
export interface DisposalWatch {
  look(): Promise<Disposal>;
  /** Looks again and again; resolves when it is over, rejects with ERR_CANCELLED. */
  over(): Promise<Disposal>;
  /** What the last look has found. */
  last(): Disposal;
}

const defaultIntervalMs = 2_000;
/** Where nobody has ever answered with a TTL: what registrars and clouds give by default. */
const unknownTtlMs = 300_000;

export function watchDisposal(deps: DisposalDeps): DisposalWatch {
  const { policy, newHost, log, signal } = deps;
  const nowMs = deps.nowMs ?? (() => performance.now());
  const resolve = deps.resolve ?? resolveName;
  const departedMs = nowMs();
  let lastFlowMs = departedMs;
  let oldTtlMs = 0;
  let newSinceMs: number | undefined;
  let last: Disposal = { isOver: false, reason: "not looked at yet" };

  async function lookUp(name: string): Promise<DnsFacts | undefined> {
    try {
      const answer = await resolve(name);
      const fresh = new Set(isIP(newHost) === 0 ? (await resolve(newHost)).addresses : [newHost]);
      const isNew = answer.addresses.length > 0 && answer.addresses.every((one) => fresh.has(one));
      // A recursive resolver counts down: the longest answer seen is the nearest to the record's.
      if (!isNew) {
        oldTtlMs = Math.max(oldTtlMs, answer.ttlSeconds * 1000);
        newSinceMs = undefined;
      } else {
        newSinceMs ??= nowMs();
      }
      // Changed before the first look: the old record's TTL is taken to be the new one's.
      const ttlMs = oldTtlMs > 0 ? oldTtlMs : answer.ttlSeconds * 1000 || unknownTtlMs;
      return { newSinceMs, oldTtlMs: ttlMs };
    } catch (error) {
      log.debug({ err: error, name }, "no DNS answer");
      return undefined;
    }
  }

  const look = async () => {
    const flows = await deps.activeFlows();
    if (flows > 0) lastFlowMs = nowMs();
    const dns = policy.dnsName === undefined ? undefined : await lookUp(policy.dnsName);
    last = decideDisposal(policy, { nowMs: nowMs(), departedMs, flows, lastFlowMs, dns });
    return last;
  };

  return {
    look,
    last: () => last,
    async over() {
      for (;;) {
        const disposal = await look();
        if (disposal.isOver) return disposal;
        await sleep(deps.intervalMs ?? defaultIntervalMs, signal);
      }
    },
  };
}

/** IPv4 addresses and their TTL, past the system's hosts file and caches. */
export async function resolveName(name: string): Promise<DnsAnswer> {
  const records = await resolve4(name, { ttl: true });
  return {
    addresses: records.map(({ address }) => address),
    ttlSeconds: Math.max(0, ...records.map(({ ttl }) => ttl)),
  };
}
