import * as assert from "uvu/assert";
import { estimate } from "../../../src/coordinator/plan/estimate.js";
import { chooseApproach, determine, type PlanInput } from "../../../src/coordinator/plan/plan.js";
import { UmsError } from "../../../src/errors.js";
import type { ServiceStatus } from "../../../src/migration/view.js";
import { throwsWith } from "../../lib/errors.js";
import { fakeFacts } from "../../lib/fake-sides.js";
import { suite } from "../../lib/suite.js";

const test = suite("coordinator plan");

const mib = 1024 * 1024;
const view = {
  facts: { ...fakeFacts, cpuFlags: ["avx2"] },
  peerName: "p",
  memoryBytes: 100 * mib,
  diskBytes: 10 * mib,
  processes: 2,
};
const status = { state: "ACTIVE", here: "running" } as ServiceStatus;
const good: PlanInput = { service: "shop", state: "running", status, view };
const destination = {
  system: "b",
  orchestrator: "podman" as const,
  facts: view.facts,
  untranslatable: [],
};

test("container level first, with its estimate; the others with why not", () => {
  const plan = determine({ ...good, destination });
  assert.is(plan.possible, true);
  assert.equal(plan.reasons, []);
  const [best, ...others] = plan.approaches;
  assert.equal(best, {
    approach: "container",
    possible: true,
    reasons: [],
    predictedDowntimeMs: 990,
    predictedTotalMs: 1_890,
  });
  assert.equal(others.map(({ approach }) => approach).sort(), ["process", "unikernel", "vm"]);
  for (const { possible, reasons } of others) assert.ok(!possible && reasons.length === 1);
  assert.is(chooseApproach(plan, good).approach, "container");
});

test("more memory, files and processes take longer", () => {
  const small = estimate({ memoryBytes: 0, diskBytes: 0, processes: 1 });
  assert.equal(small, { predictedDowntimeMs: 420, predictedTotalMs: 1_220 });
  const large = estimate({ memoryBytes: 256 * mib, diskBytes: 100 * mib, processes: 8 });
  assert.equal(large, { predictedDowntimeMs: 1_968, predictedTotalMs: 3_768 });
});

const obstacles: [name: string, change: Partial<PlanInput>, code: string, says: RegExp][] = [
  ["ended", { state: "ended", status: undefined }, "ERR_SERVICE_NOT_RUNNING", /not running/],
  [
    "left",
    { status: { ...status, state: "RETIRED", peer: "x:1" } },
    "ERR_SERVICE_NOT_RUNNING",
    /runs at x:1/,
  ],
  ["busy", { status: { ...status, state: "PRECOPY" } }, "ERR_MIGRATION_IN_PROGRESS", /busy/],
  ["no service", { status: { ...status, here: "none" } }, "ERR_SERVICE_NOT_RUNNING", /not run/],
  [
    "unreachable",
    { problem: new UmsError("ERR_PEER_UNREACHABLE", "no answer") },
    "ERR_PEER_UNREACHABLE",
    /no answer/,
  ],
  [
    "undumpable",
    { view: { ...view, obstacle: new UmsError("ERR_RESOURCE_UNSUPPORTED", "holds a device") } },
    "ERR_RESOURCE_UNSUPPORTED",
    /Holds a device\./,
  ],
  [
    "lesser processor",
    { destination: { ...destination, facts: { ...view.facts, cpuFlags: [] } } },
    "ERR_PEER_INCOMPATIBLE",
    /avx2/,
  ],
  [
    "untranslatable",
    {
      destination: {
        ...destination,
        untranslatable: [{ setting: "sysctls.x", effect: "refused", reason: "no such thing" }],
      },
    },
    "ERR_UNTRANSLATABLE",
    /sysctls\.x: No such thing\./,
  ],
];
for (const [name, change, code, says] of obstacles) {
  test(`${name}: not possible, and why`, () => {
    const input = { ...good, ...change };
    const plan = determine(input);
    assert.is(plan.possible, false);
    const error = throwsWith(code as never, () => chooseApproach(plan, input));
    assert.match(error.message, says);
    assert.ok(plan.approaches.every((one) => one.predictedDowntimeMs === undefined));
  });
}

test("what is only reported, or not known yet, is said and hinders nothing", () => {
  const untranslatable = [{ setting: "labels.x", effect: "reported", reason: "dropped" } as const];
  const input = { ...good, destination: { ...destination, facts: undefined, untranslatable } };
  const plan = determine(input);
  assert.is(plan.possible, true);
  assert.is(plan.approaches[0]?.reasons.length, 2);
});

test("an approach that is not possible or does not exist is refused", () => {
  const plan = determine(good);
  throwsWith("ERR_RESOURCE_UNSUPPORTED", () => chooseApproach(plan, good, "vm"));
  throwsWith("ERR_SPEC_INVALID", () => chooseApproach(plan, good, "magic"));
});

test.run();
