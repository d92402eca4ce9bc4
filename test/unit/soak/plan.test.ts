import * as assert from "uvu/assert";
import { suite } from "../../lib/suite.js";
import { leastMoves, planEnd, planMoves, roundMoves } from "../../soak/plan.js";
import { createTopology } from "../../soak/topology.js";

const test = suite("plan of a soak");

test("each move begins where the last one ended, elsewhere than it ends, from a to a", () => {
  for (const count of [leastMoves, leastMoves + 2, leastMoves + 3, 40, 41, 200]) {
    const moves = planMoves(count, 7);
    assert.is(moves.length, count);
    assert.is(moves[0]?.from, "a");
    assert.is(moves.at(-1)?.to, "a");
    moves.forEach(({ from, to }, index) => {
      assert.is.not(from, to);
      if (index > 0) assert.is(from, moves[index - 1]?.to);
    });
  }
});

test("takes every direction in the warm-up and once more at the end", () => {
  const moves = planMoves(60, 1);
  const ways = (part: typeof moves) => new Set(part.map(({ from, to }) => from + to)).size;
  assert.is(ways(moves.slice(0, roundMoves)), 6);
  assert.is(ways(moves.slice(-roundMoves)), 6);
});

test("is the same for the same seed, another for another", () => {
  assert.equal(planMoves(100, 3), planMoves(100, 3));
  assert.not.equal(planMoves(100, 3), planMoves(100, 4));
});

test("ends from anywhere with the last round", () => {
  for (const here of ["a", "b", "c"] as const) {
    const moves = planEnd(here);
    assert.is(moves[0]?.from, here);
    assert.equal(moves.slice(-roundMoves), planMoves(leastMoves, 1).slice(-roundMoves));
    moves.forEach(({ from, to }, index) => {
      assert.is.not(from, to);
      if (index > 0) assert.is(from, moves[index - 1]?.to);
    });
  }
});

test("refuses too few moves, and a walk of one from a to a", () => {
  assert.throws(() => planMoves(leastMoves - 1, 1), RangeError);
  assert.throws(() => planMoves(leastMoves + 1, 1), RangeError);
});

test("no way to the service is longer than two tunnels, whatever the order", () => {
  for (let seed = 1; seed <= 50; seed += 1) {
    const topology = createTopology("a");
    const moves = planMoves(200, seed);
    moves.forEach((move, index) => {
      topology.moved(move);
      if (index < roundMoves) return;
      const hops = (["a", "b", "c"] as const).map((place) => topology.hops(place));
      assert.ok(Math.max(...hops) <= 2, hops.join(" "));
      assert.is(topology.hops(topology.home), 0);
    });
  }
});

test.run();
