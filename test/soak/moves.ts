/** Moves the service once, and says what the clients saw of it. */
import { poll } from "../../src/lib/deadline.js";
import { type ClientKind, type SoakClient, whenAllAnswered } from "./clients.js";
import type { Move } from "./plan.js";
import type { Outers } from "./samples.js";

export interface MoveRecord extends Move {
  at: string;
  totalMs: number;
  freezeMs: number;
  bytesSent: number;
  timingsMs: Record<string, number>;
  /** Longest time without an answer, milliseconds, of each client. */
  gapsMs: { name: string; kind: ClientKind; ms: number }[];
}

export interface FailedMove extends Move {
  at: string;
  code: string | undefined;
  reason: string;
}

const settleTimeoutMs = 60_000;

/** A migration that fails is no end: the service must still run where it was. */
export async function moveOnce(
  outers: Outers,
  move: Move,
  clients: readonly SoakClient[],
): Promise<MoveRecord | FailedMove> {
  const [from, to] = [outers[move.from], outers[move.to]];
  await whenAllAnswered(clients);
  for (const client of clients) client.lap();
  const at = new Date().toISOString();
  const { exitCode, result, code, stderr } = await from.migrate(to);
  if (exitCode !== 0 || result === undefined || result.outcome !== "moved") {
    return { ...move, at, code, reason: result?.failure?.message ?? stderr };
  }
  await whenAllAnswered(clients);
  const gapsMs = clients.map((client) => ({
    name: client.name,
    kind: client.kind,
    ms: client.lap(),
  }));
  const { totalMs, freezeMs, bytesSent, timingsMs } = result;
  return { ...move, at, totalMs, freezeMs, bytesSent, timingsMs, gapsMs };
}

/** What the last move's source has still to do is done. @throws ERR_DEADLINE */
export async function whenRetired(outers: Outers, { from, to }: Move): Promise<void> {
  const isDone = async () => (await outers[from].status()).state === "RETIRED";
  await poll(`${from} is retired`, isDone, { timeoutMs: settleTimeoutMs, intervalMs: 200 });
  const { here } = await outers[to].status();
  if (here !== "running") throw new Error(`the service is ${here} at ${to}`);
}
