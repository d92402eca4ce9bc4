import * as assert from "uvu/assert";
import { presentLayers } from "../../../src/sync/image-layers.js";
import { suite } from "../../lib/suite.js";

const test = suite("present layers");

test("counts the longest common beginning", () => {
  const wanted = ["a", "b", "a", "c"];
  assert.is(presentLayers(wanted, []), 0);
  assert.is(presentLayers(wanted, [["b"], ["a"], ["a", "b", "x"]]), 2);
  assert.is(presentLayers(wanted, [["a", "b", "a", "c", "d"]]), 4);
  assert.is(presentLayers(wanted, [["x", "b", "a", "c"]]), 0);
});

test.run();
