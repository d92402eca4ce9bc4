import * as assert from "uvu/assert";
import { suite } from "../../lib/suite.js";
import { distributionOf, trendOf } from "../../soak/figures.js";
import { judgeLeaks } from "../../soak/leaks.js";
import type { Counts, Sample } from "../../soak/samples.js";

const test = suite("leaks of a soak");

/** Samples after 6, 7, 8 ... moves; `b` at each, the others empty. */
function samplesOf(count: number, b: (index: number) => Counts): Sample[] {
  return Array.from({ length: count }, (_, index) => ({
    afterMoves: 6 + index,
    home: "a" as const,
    outer: { a: {}, b: b(index), c: {} },
    host: {},
  }));
}

function faults(samples: Sample[]): string[] {
  return judgeLeaks(samples).flatMap(({ place, name, fault }) =>
    fault === undefined ? [] : [`${place} ${name}`],
  );
}

test("finds a count that is higher at the end", () => {
  assert.equal(faults(samplesOf(3, (index) => ({ mounts: 20 + index }))), ["b mounts"]);
});

test("forgives a count that was higher in between, or fell", () => {
  const mounts = [20, 26, 20];
  assert.equal(faults(samplesOf(3, (index) => ({ mounts: mounts[index] ?? 0 }))), []);
  assert.equal(faults(samplesOf(3, (index) => ({ mounts: 20 - index }))), []);
});

test("finds memory that grows with the moves, through noise", () => {
  const noise = (index: number) => (index % 3) * 1024 ** 2;
  const rss = (perMove: number) => (index: number) => ({
    "supervisor.rssBytes": 2e8 + index * perMove + noise(index),
  });
  assert.equal(faults(samplesOf(60, rss(400 * 1024))), ["b supervisor.rssBytes"]);
  assert.equal(faults(samplesOf(60, rss(0))), []);
});

test("takes no trend from a few samples", () => {
  const grown = samplesOf(4, (index) => ({ "supervisor.rssBytes": index * 1024 ** 2 }));
  assert.equal(faults(grown), []);
});

test("percentiles are by nearest rank, trends by least squares", () => {
  const values = Array.from({ length: 100 }, (_, index) => 100 - index);
  assert.equal(distributionOf(values), { min: 1, p50: 50, p90: 90, p99: 99, max: 100 });
  assert.throws(() => distributionOf([]), TypeError);
  const trend = trendOf([0, 1, 2, 3].map((x) => ({ x, y: 5 + 2 * x })));
  assert.ok(Math.abs((trend?.slope ?? 0) - 2) < 1e-9);
  assert.is(trendOf([{ x: 0, y: 1 }]), undefined);
});

test.run();
