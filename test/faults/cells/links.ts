/** The link between the two breaks, in one direction or both, and heals. */
import { sleep } from "../../../src/lib/deadline.js";
import type { Cell, Outcome, Role } from "../cell.js";
import { pausedAt } from "./paused.js";

const cutMs = 8_000;
/** Ends the attempt while the link is cut, so that the abort and the thaw come without the peer. */
const budgetMs = 5_000;

interface State {
  on: Role;
  point: string;
  expect: Outcome;
  budgetMs?: number;
}

const states: readonly State[] = [
  { on: "source", point: "source.do.reserve", expect: "either" },
  { on: "source", point: "call.Provision.send", expect: "either" },
  { on: "source", point: "source.record.FREEZING", expect: "either" },
  { on: "source", point: "source.do.dump", expect: "aborted", budgetMs },
  { on: "source", point: "call.Prepare.send", expect: "aborted", budgetMs },
  { on: "destination", point: "destination.record.PREPARED", expect: "aborted", budgetMs },
  { on: "source", point: "call.Commit.send", expect: "moved" },
  { on: "destination", point: "destination.record.RUNNING", expect: "moved" },
  { on: "source", point: "source.do.kill", expect: "moved" },
];

const cuts = {
  "partition, healed after 8 s": ["in", "out"],
  "half-open link, source to destination lost": ["out"],
  "half-open link, destination to source lost": ["in"],
} as const;

export const links: readonly Cell[] = Object.entries(cuts).flatMap(([fault, directions]) =>
  states.map((state) =>
    pausedAt({
      category: "link",
      fault,
      ...state,
      // The answer's way is not cut: it may come within the budget.
      ...(directions.length === 1 && directions[0] === "out" && state.on === "destination"
        ? { expect: state.expect === "moved" ? ("moved" as const) : ("either" as const) }
        : {}),
      boundMs: 120_000,
      isFast: state.point === "call.Commit.send" && directions.length === 2,
      meanwhile: ({ source, destination }) => source.cut(destination.outer.ip, directions),
      async afterwards({ source }) {
        await sleep(cutMs);
        await source.heal();
      },
    }),
  ),
);
