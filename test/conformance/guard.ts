/** Control messages of others while a service migrates: refused, or noticed. */
import type { Test } from "uvu";
import * as assert from "uvu/assert";
import { poll } from "../../src/lib/deadline.js";
import type { Bench } from "./bench.js";
import { readyTimeoutMs } from "./life.js";
import { plainSpec } from "./specs.js";

/** Events may come a moment after the act. */
const noticeTimeoutMs = 15_000;

export function registerGuard(test: Test, bench: () => Bench): void {
  test("a guard refuses or notices every act of others", async () => {
    const { orchestrator, prefix, image, acts } = bench();
    const { id } = await orchestrator.create({
      spec: plainSpec(`${prefix}-guarded`, image),
      migrationId: `${prefix}-m-guarded`,
      startMode: "passive",
    });
    const workload = await orchestrator.untilReady(id, { timeoutMs: readyTimeoutMs });
    for (const { name, run } of acts) {
      const guard = await orchestrator.guard(id, `${prefix}-m-${name}`);
      try {
        assert.is(await guard.change(), undefined, `before ${name}`);
        const refused = await run(workload).then(
          () => false,
          () => true,
        );
        if (guard.mode === "blocked" && refused) {
          assert.is(await guard.change(), undefined, `${name} was refused`);
        } else {
          const what = () => guard.change();
          const change = await poll(`${name} noticed`, what, { timeoutMs: noticeTimeoutMs });
          assert.type(change, "string");
          assert.is(await guard.change(), change, "and it stays so");
        }
      } finally {
        await guard.release();
        await guard.release();
      }
    }
    await orchestrator.remove(id);
    assert.equal(await bench().leftovers(), []);
  });

  test("a guard of a migration that is over is released for it", async () => {
    const { orchestrator, prefix, image, acts } = bench();
    const { id } = await orchestrator.create({
      spec: plainSpec(`${prefix}-stale`, image),
      migrationId: `${prefix}-m-stale`,
      startMode: "passive",
    });
    const workload = await orchestrator.untilReady(id, { timeoutMs: readyTimeoutMs });
    const guard = await orchestrator.guard(id, `${prefix}-m-kept`);
    await orchestrator.releaseStale([`${prefix}-m-kept`]);
    assert.is(await guard.change(), undefined, "one of an active migration stays");
    await orchestrator.releaseStale([]);
    // Whoever was refused before may act now.
    for (const act of acts) await act.run(workload);
    await guard.release();
    await orchestrator.remove(id);
    assert.equal(await bench().leftovers(), []);
  });
}
