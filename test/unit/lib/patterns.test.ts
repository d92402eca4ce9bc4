import * as assert from "uvu/assert";
import { matcherOf } from "../../../src/lib/patterns.js";
import { suite } from "../../lib/suite.js";

const test = suite("name patterns");

function matching(patterns: string[], names: string[]): string[] {
  return names.filter(matcherOf(patterns));
}

const names = ["edge-1", "edge-2", "edge", "cloud", "my.edge-1"];

test("a star is any characters, everything else is itself", () => {
  assert.equal(matching(["edge-*"], names), ["edge-1", "edge-2"]);
  assert.equal(matching(["*"], names), names);
  assert.equal(matching(["*edge*"], names), ["edge-1", "edge-2", "edge", "my.edge-1"]);
  assert.equal(matching(["m..edge-1", "e*-[12]"], names), []);
});

test("no pattern matches nothing, nor does an empty one", () => {
  assert.equal(matching([], names), []);
  assert.equal(matching([""], names), []);
});

test("the last one that matches counts", () => {
  assert.equal(matching(["edge-*", "!edge-2"], names), ["edge-1"]);
  assert.equal(matching(["!edge-2", "edge-*"], names), ["edge-1", "edge-2"]);
  assert.equal(matching(["!*"], names), []);
});

test.run();
