import * as assert from "uvu/assert";
import { isStopped } from "../../../src/approach/container/unsupported.js";
import { suite } from "../../lib/suite.js";

const test = suite("what cannot be dumped");

test("knows a stopped process by its state, whatever its name", () => {
  assert.ok(isStopped("310 (python3) T 285 310 310 0 -1"));
  assert.not.ok(isStopped("310 (a) T (b) S 285 310 310 0 -1"));
  assert.not.ok(isStopped("310 (python3) t 285 310 310 0 -1"));
  assert.not.ok(isStopped(""));
});

test.run();
