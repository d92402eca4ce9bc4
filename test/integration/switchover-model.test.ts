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
  "one side lost, a crash and a restart of each, an operator who tells the truth": {
    migrations: 1,
    crashes: 1,
    restarts: 1,
    losses: 1,
    operator: "honest",
  },
  "one side lost, two migrations, an operator who tells the truth": {
    migrations: 2,
    crashes: 0,
    restarts: 0,
    losses: 1,
    operator: "honest",
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

const conditions = [
  ...(["twoRunning", "noneRunning", "stuck"] as const),
  ...(["lostForGood", "downAfterLoss"] as const),
];

for (const [title, limits] of Object.entries(cases)) {
  test(title, () => {
    const found = explore(productionRules, limits);
    console.log(`${title}: ${found.states} states`);
    for (const name of conditions) {
      assert.is(found[name].count, 0, `${name}: ${found[name].example.join(" > ")}`);
    }
  });
}

test.run();
