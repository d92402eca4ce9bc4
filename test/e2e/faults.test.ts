/** The fault matrix's fast subset, one test a cell. All of it: `make test-faults`. */
import * as assert from "uvu/assert";
import { titleOf } from "../faults/cell.js";
import { cells } from "../faults/cells/all.js";
import { openNetwork } from "../faults/network.js";
import { type CellResult, runCells } from "../faults/runner.js";
import { type OuterLab, openOuterLab } from "../lib/outer.js";
import { outerWithFixture } from "../lib/outer-image.js";
import { requires } from "../lib/requires.js";
import { suite } from "../lib/suite.js";

const labName = "ums-test-faults";
const workers = 3;
const chosen = cells.filter(({ isFast }) => isFast === true);

const test = suite("fault matrix, fast subset");
let lab: OuterLab;
let network: Awaited<ReturnType<typeof openNetwork>>;
let results: CellResult[] = [];

test.before(async () => {
  lab = await openOuterLab(labName);
  network = await openNetwork(labName);
  const image = await outerWithFixture("programs");
  results = await runCells(chosen, { lab, network, image, workers, onResult: () => undefined });
});

test.after(async () => {
  await lab?.close();
  await network?.close();
});

for (const cell of chosen) {
  test(titleOf(cell), () => {
    const result = results.find((done) => done.cell === cell);
    assert.equal(result?.problems, []);
  });
}

if (requires("root", "docker", "nsenter")) test.run();
