/** An outer container that is asked to stop while a service comes to it. */
import * as assert from "uvu/assert";
import { deferred } from "../../../src/lib/deferred.js";
import { phaseOf, withPair } from "../../lib/migration-pair.js";
import { suite } from "../../lib/suite.js";

const test = suite("a destination that is asked to stop");

for (const step of ["provision", "restore"]) {
  test(`refuses what it has not taken over, during ${step}`, () =>
    withPair(async ({ events, source, destination, migrate }) => {
      const reached = deferred<void>();
      const released = deferred<void>();
      events.script.set(`destination.${step}`, () => {
        reached.resolve();
        return released.promise;
      });
      const ending = migrate();
      await reached.promise;
      const stopping = destination.runner.stop();
      released.resolve();
      await stopping;
      const { outcome, runsOn } = await ending;
      assert.is(`${outcome} ${runsOn}`, "aborted source");
      await phaseOf(source, "ACTIVE");
      assert.ok(["REFUSED", "DISCARDED"].includes(destination.runner.state.phase));
      assert.not.ok(events.list.includes("owned"));
    }));
}

test("keeps what it has taken over", () =>
  withPair(async ({ destination, migrate }) => {
    await migrate();
    await destination.runner.stop();
    assert.is(destination.runner.state.phase, "RUNNING");
  }));

test.run();
