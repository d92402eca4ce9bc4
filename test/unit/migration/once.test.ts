/** A migration has one chance at a destination. */
import * as assert from "uvu/assert";
import { UmsError } from "../../../src/errors.js";
import { rejectsWith } from "../../lib/errors.js";
import { fakePeer } from "../../lib/fake-sides.js";
import { withPair } from "../../lib/migration-pair.js";
import { suite } from "../../lib/suite.js";

const test = suite("a migration that has ended");

test("a migration that was here is never reserved again", async () => {
  await withPair(async ({ events, migrate, source, destination }) => {
    events.script.set("destination.arm", () => {
      throw new UmsError("ERR_NETWORK_SETUP", "scripted");
    });
    await migrate();
    const peer = fakePeer(events, () => destination.runner);
    const ref = { migrationId: source.runner.state.migrationId ?? "", epoch: 2 };
    const facts = await destination.side.facts();
    const late = {
      ...{ facts, spec: {} as never, memoryBytes: 1 },
      diskBytes: 1,
      sourceAddress: "",
      token: "",
    };
    await rejectsWith("ERR_EPOCH_STALE", peer.reserve(ref, late));
    assert.is(destination.runner.state.phase, "REFUSED");
  });
});

test.run();
