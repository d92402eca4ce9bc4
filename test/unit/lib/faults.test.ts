import { existsSync } from "node:fs";
import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { poll, sleep } from "../../../src/lib/deadline.js";
import { noFaults, openFaults } from "../../../src/lib/faults.js";
import { rejectsWith } from "../../lib/errors.js";
import { suite } from "../../lib/suite.js";
import { withDirectory } from "../../lib/temporary.js";

const test = suite("fault points");

test("none is there without the directory of the test setting", () => {
  assert.is(openFaults(undefined), noFaults);
});

test("an armed point acts once", () =>
  withDirectory(async (directory) => {
    const faults = openFaults(directory);
    await writeFile(join(directory, "here"), "fail\n");
    await rejectsWith("ERR_INTERNAL", faults.at("here"));
    assert.is(await faults.at("here"), false);
    await writeFile(join(directory, "here"), "repeat");
    assert.is(await faults.at("here"), true);
  }));

test("a file says what to pretend", () =>
  withDirectory(async (directory) => {
    const faults = openFaults(directory);
    assert.equal(await faults.pretend("facts"), {});
    await writeFile(join(directory, "facts.json"), '{"cgroupVersion":2}');
    assert.equal(await faults.pretend("facts"), { cgroupVersion: 2 });
    assert.equal(await noFaults.pretend("facts"), {});
  }));

test("a paused point waits until it is released", () =>
  withDirectory(async (directory) => {
    const faults = openFaults(directory);
    await writeFile(join(directory, "here"), "pause");
    let isThrough = false;
    const passing = faults.at("here").then(() => {
      isThrough = true;
    });
    const reached = join(directory, "here.reached");
    await poll("the point", () => existsSync(reached), { timeoutMs: 2_000, intervalMs: 5 });
    await sleep(30);
    assert.not.ok(isThrough);
    await rm(reached);
    await passing;
  }));

test.run();
