/** A source's and a destination's runner, one calling the other in memory, over real journals. */
import { poll, sleep, within } from "../../src/lib/deadline.js";
import type { Admit } from "../../src/migration/admission.js";
import type { MigrationResult } from "../../src/migration/report.js";
import {
  Events,
  type FakeDestinationEnd,
  type FakeSourceEnd,
  fakeDestination,
  fakePeer,
  openFakeDestination,
  openFakeSource,
} from "./fake-sides.js";
import { withDirectory } from "./temporary.js";

const endTimeoutMs = 5_000;

export interface Pair {
  events: Events;
  source: FakeSourceEnd;
  destination: FakeDestinationEnd;
  migrate(downtimeBudgetMs?: number, token?: string): Promise<MigrationResult>;
  /** As after a crash of the supervisor: a new runner over the same journal. */
  restartSource(): Promise<void>;
  restartDestination(): Promise<void>;
}

/** Waits until the source is in `phase`. */
export async function phaseOf(end: FakeSourceEnd, phase: string): Promise<void> {
  await poll(phase, () => end.runner.state.phase === phase, {
    timeoutMs: endTimeoutMs,
    intervalMs: 5,
  });
}

/** Makes a pair for `use` and closes it afterwards. */
export async function withPair(
  use: (pair: Pair) => Promise<void>,
  options: { leaseMs?: number; admit?: Admit } = {},
): Promise<void> {
  await withDirectory(async (directory) => {
    const events = new Events();
    const peer = fakePeer(events, () => pair.destination.runner);
    const pair: Pair = {
      events,
      source: await openFakeSource(directory, events, peer),
      destination: await openFakeDestination(directory, events, options),
      async migrate(downtimeBudgetMs = 10_000, token = "") {
        const request = { destination: fakeDestination, downtimeBudgetMs, token };
        const report = await pair.source.runner.migrate(request);
        return within(endTimeoutMs, "the end of the migration", report.ended());
      },
      async restartSource() {
        await pair.source.close();
        pair.source = await openFakeSource(directory, events, peer);
        await pair.source.runner.recover();
      },
      async restartDestination() {
        const { side } = pair.destination;
        const { answers } = pair.destination;
        await pair.destination.close();
        pair.destination = await openFakeDestination(directory, events, { ...options, side });
        pair.destination.answers = answers;
        await pair.destination.runner.recover();
      },
    };
    try {
      await use(pair);
    } finally {
      // What the last effects still write belongs to the test.
      await sleep(5);
      await Promise.all([pair.source.close(), pair.destination.close()]);
    }
  });
}
