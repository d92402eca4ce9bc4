/** The larger explorations of the switch-over's model; minutes, not seconds. */
import * as assert from "uvu/assert";
import { productionRules } from "../lib/model.js";
import { explore } from "../lib/model-explore.js";
import type { Limits } from "../lib/model-world.js";
import { suite } from "../lib/suite.js";

const test = suite("switch-over model, many states");

const cases: Record<string, Limits> = {
  "a crash and a restart of each outer container": {
    migrations: 1,
    crashes: 1,
    restarts: 1,
    losses: 0,
  },
  "a second migration after an aborted or a finished one": {
    migrations: 2,
    crashes: 0,
    restarts: 0,
    losses: 0,
  },
  "a second migration, and a restart of each outer container": {
    migrations: 2,
    crashes: 0,
    restarts: 1,
    losses: 0,
  },
};

for (const [title, limits] of Object.entries(cases)) {
  test(title, () => {
    const found = explore(productionRules, limits);
    console.log(`${title}: ${found.states} states`);
    for (const name of ["twoRunning", "noneRunning", "stuck", "lostForGood"] as const) {
      assert.is(found[name].count, 0, `${name}: ${found[name].example.join(" > ")}`);
    }
  });
}

test.run();
