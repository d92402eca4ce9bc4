/**
 * What every orchestrator driver must do, tried on the real system with real outer containers. A
 * driver's own file opens a {@link Bench} and calls {@link conformance}.
 */

import { suite } from "../lib/suite.js";
import type { Bench } from "./bench.js";
import { registerFaults } from "./faults.js";
import { registerGuard } from "./guard.js";
import { registerLife } from "./life.js";
import { registerTranslation } from "./translation.js";

/** Registers and runs the suite. `open` is called once, before the first test. */
export function conformance(name: string, open: () => Promise<Bench>): void {
  const test = suite(`conformance: ${name}`);
  let opened: Bench | undefined;
  const bench = () => {
    if (opened === undefined) throw new TypeError("the bench is not open");
    return opened;
  };
  test.before(async () => {
    opened = await open();
  });
  test.after.each(async () => {
    await opened?.removeAll();
  });
  test.after(async () => {
    await opened?.close();
  });
  registerLife(test, bench);
  registerTranslation(test, bench);
  registerFaults(test, bench);
  registerGuard(test, bench);
  test.run();
}
