/**
 * Explores the switch-over breadth-first with production's own decisions, and shows that the
 * checker notices when a rule is broken. More states in test/integration/switchover-model.test.ts.
 */
import * as assert from "uvu/assert";
import type { DestinationStep } from "../../../src/migration/destination-state.js";
import type { SourceStep } from "../../../src/migration/source-state.js";
import { productionRules, type Rules } from "../../lib/model.js";
import { type Exploration, explore } from "../../lib/model-explore.js";
import type { Limits } from "../../lib/model-world.js";
import { suite } from "../../lib/suite.js";

const test = suite("switch-over model");

const oneCrash: Limits = { migrations: 1, crashes: 1, restarts: 0, losses: 0 };

test("two crashes a side: never two copies, never none, never stuck", () => {
  const found = explore(productionRules, { ...oneCrash, crashes: 2 });
  console.log(`switch-over, two crashes a side: ${found.states} states`);
  assert.ok(found.states > 10_000, `only ${found.states} states`);
  assertGood(found);
});

test("an outer container lost for good before the hand-over leaves a copy at the other", () => {
  const found = explore(productionRules, { ...oneCrash, losses: 1 });
  const { downAfterLoss, ...rest } = found;
  console.log(`switch-over, one side lost: ${found.states} states, ${downAfterLoss.count} wait`);
  assertGood({ ...rest, downAfterLoss: { count: 0, example: [] } });
  assert.ok(downAfterLoss.count > 0, "without an operator some survivors wait for ever");
});

test("an operator's word about a lost side brings the service up at the other", () => {
  const found = explore(productionRules, {
    ...oneCrash,
    crashes: 0,
    losses: 1,
    operator: "honest",
  });
  console.log(`switch-over, one side lost, an operator: ${found.states} states`);
  assertGood(found);
});

test("an operator's word about a side that lives makes two copies", () => {
  const found = explore(productionRules, { ...oneCrash, crashes: 0, operator: "lying" });
  console.log(`lying operator: ${found.twoRunning.count} of ${found.states} have two copies`);
  assert.ok(found.twoRunning.count > 0);
});

test("resuming the source because the commit timed out makes two copies", () => {
  const found = explore(
    withSource((step, state, event) => {
      if (event !== "failed" || state !== "COMMITTED") return step;
      const phase = "ROLLED_BACK" as const;
      return { state: { ...step.state, phase }, journal: true, effects: ["thaw", "send-abort"] };
    }),
    { ...oneCrash, crashes: 0 },
  );
  console.log(`naive rule: ${found.twoRunning.count} of ${found.states} states have two copies`);
  assert.ok(found.twoRunning.count > 0);
});

test("holding by a process instead of the freezer makes two copies", () => {
  const found = explore({ ...productionRules, isFreezerKept: false }, oneCrash);
  console.log(
    `hold by ptrace: ${found.twoRunning.count} of ${found.states} states have two copies`,
  );
  assert.ok(found.twoRunning.count > 0);
});

test("a decision that is not recorded makes two copies", () => {
  const rules = withSource((step) =>
    step.state.phase === "COMMITTED" ? { ...step, journal: false } : step,
  );
  assert.ok(explore(rules, oneCrash).twoRunning.count > 0);
});

test("a refusal that is not recorded makes two copies", () => {
  const rules = withDestination((step) =>
    step.state.phase === "REFUSED" ? { ...step, journal: false } : step,
  );
  assert.ok(explore(rules, oneCrash).twoRunning.count > 0);
});

test("a destination that starts by itself makes two copies", () => {
  const rules = withDestination((step) =>
    step.state.phase === "PREPARED" ? { ...step, effects: ["thaw"] } : step,
  );
  const thawing: Rules = {
    ...rules,
    reduceDestination: (state, event) =>
      event.type === "thawed" && state.phase === "PREPARED"
        ? { state: { ...state, phase: "RUNNING" }, journal: true, effects: [] }
        : rules.reduceDestination(state, event),
  };
  assert.ok(explore(thawing, oneCrash).twoRunning.count > 0);
});

test("a destination that forgets what it refused makes two copies", () => {
  const rules = { ...productionRules, knowsEarlier: false };
  const limits = { ...oneCrash, crashes: 0 };
  assert.ok(explore(rules, limits).twoRunning.count > 0);
});

test("a COMMIT sent only once leaves nobody running after a crash", () => {
  const rules = withSource((step, _, event) =>
    event === "restarted" && step.state.phase === "COMMITTED" ? { ...step, effects: [] } : step,
  );
  const silent = { ...rules, answerQuery: () => "PENDING" as const };
  assert.ok(explore(silent, oneCrash).stuck.count > 0);
});

const conditions = [
  ...(["twoRunning", "noneRunning", "stuck"] as const),
  ...(["lostForGood", "downAfterLoss"] as const),
];

function assertGood(found: Exploration): void {
  for (const name of conditions) {
    assert.is(found[name].count, 0, `${name}: ${found[name].example.join(" > ")}`);
  }
}

type Change<T> = (step: T, phase: string, event: string) => T;

function withSource(change: Change<SourceStep>): Rules {
  return {
    ...productionRules,
    reduceSource: (state, event) =>
      change(productionRules.reduceSource(state, event), state.phase, event.type),
  };
}

function withDestination(change: Change<DestinationStep>): Rules {
  return {
    ...productionRules,
    reduceDestination: (state, event) =>
      change(productionRules.reduceDestination(state, event), state.phase, event.type),
  };
}

test.run();
