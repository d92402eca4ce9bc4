/** Settings of a run, from the environment. */
import { leastMoves } from "./plan.js";

export interface SoakOptions {
  /** SOAK_MOVES, default 200. */
  moves: number;
  /** SOAK_SEED of the order; default: by the clock, and printed. */
  seed: number;
  /** SOAK_EVERY: moves between two samples, default 5, fewer in a short run. */
  sampleEvery: number;
}

/** @throws RangeError for what is no number */
export function readOptions(env: NodeJS.ProcessEnv): SoakOptions {
  const moves = integer(env, "SOAK_MOVES", 200);
  if (moves < leastMoves) throw new RangeError(`SOAK_MOVES: ${leastMoves} is the least`);
  return {
    moves,
    seed: integer(env, "SOAK_SEED", Date.now() % 1_000_000),
    sampleEvery: integer(env, "SOAK_EVERY", moves < 50 ? 2 : 5),
  };
}

function integer(env: NodeJS.ProcessEnv, name: string, otherwise: number): number {
  const text = env[name];
  if (text === undefined || text === "") return otherwise;
  if (!/^\d{1,9}$/.test(text) || Number(text) === 0) throw new RangeError(`${name}=${text}`);
  return Number(text);
}
