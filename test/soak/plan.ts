/** Where the service goes: a closing round that leaves the places as they were, and a seeded walk between. */

/** The three outer containers. */
export type Place = "a" | "b" | "c";
export const places: readonly Place[] = ["a", "b", "c"];

export interface Move {
  from: Place;
  to: Place;
}

/**
 * Every direction once, from a to a. Walked first, so that each place has had every role and has a
 * tunnel from each other place; walked again at the end, so that the places stand to each other as
 * they did then, and counts can be compared for equality.
 */
const round: readonly Place[] = ["b", "c", "a", "c", "b", "a"];
export const roundMoves = round.length;
export const leastMoves = 2 * roundMoves;

/** `count` moves that begin and end at a. The same seed gives the same moves. */
export function planMoves(count: number, seed: number): Move[] {
  const walked = count - leastMoves;
  // From a back to a takes no move, or two and more.
  if (!Number.isInteger(count) || walked < 0 || walked === 1) {
    throw new RangeError(`${count} moves: ${leastMoves} or at least ${leastMoves + 2} are needed`);
  }
  const stops = [...round, ...walk(walked, createRandom(seed)), ...round];
  return stops.map((to, index) => ({ from: stops[index - 1] ?? "a", to }));
}

/** From any place by the shortest way to a, and the last round: how a run is ended early. */
export function planEnd(here: Place): Move[] {
  const stops: readonly Place[] = here === "a" ? round : ["a", ...round];
  return stops.map((to, index) => ({ from: stops[index - 1] ?? here, to }));
}

function walk(count: number, random: () => number): Place[] {
  const stops: Place[] = [];
  for (let left = count; left > 0; left -= 1) {
    const here = stops.at(-1) ?? "a";
    stops.push(left === 1 ? "a" : pick(choices(here, left), random));
  }
  return stops;
}

function choices(here: Place, left: number): Place[] {
  // The move after this one must be able to go to a.
  return places.filter((place) => place !== here && !(left === 2 && place === "a"));
}

function pick(among: readonly Place[], random: () => number): Place {
  const picked = among[Math.floor(random() * among.length)];
  if (picked === undefined) throw new TypeError("nothing to pick from");
  return picked;
}

/** Mulberry32: 32 bits of state, good enough to shuffle, and the same on every machine. */
function createRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
