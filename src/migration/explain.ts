/**
 * Every state of both halves of the switch-over in words for an operator: who owns the service, why,
 * and what to do next. A state without a row does not compile.
 */
import type { DestinationPhase } from "./destination-state.js";
import type { SourcePhase } from "./source-state.js";

export type Owner = "here" | "peer" | "undecided" | "nobody";

export interface Explanation {
  owner: Owner;
  /** One sentence. */
  why: string;
  /** Empty when nothing is to be done. */
  next: string;
  /** Nobody runs the service, and only the other side or an operator ends that. */
  inDoubt: boolean;
}

export interface ExplainFacts {
  /** The other side, as people know it. */
  peer: string;
  /** Why the last migration ended as it did, or why a side refused. */
  reason: string | undefined;
  /** An operator's word ended a doubt. */
  isFenced: boolean;
}

type Row = (facts: ExplainFacts) => Explanation;

export const sourceTable: Record<SourcePhase, Row> = {
  ACTIVE: ({ reason, isFenced }) => {
    const last = isFenced ? "the last migration was rolled back" : "the last migration failed";
    return row(
      "here",
      `the service runs here${reason === undefined ? "" : `; ${last}: ${reason}`}`,
    );
  },
  PREPARING: ({ peer }) =>
    row("here", `the service runs here; a migration to ${peer} has begun`, untilDecision),
  PRECOPY: ({ peer }) =>
    row("here", `the service runs here and is being copied to ${peer}`, untilDecision),
  FREEZING: ({ peer }) =>
    row("here", `the service is here, frozen, and its memory goes to ${peer}`, untilDecision),
  FROZEN: ({ peer }) =>
    row("here", `the service is here, frozen, and being restored at ${peer}`, untilDecision),
  COMMITTED: ({ peer }) => ({
    owner: "peer",
    why: `handed over to ${peer}, which has not confirmed yet; nothing runs here`,
    next: [
      `Make ${peer} reachable, or start its outer container again with its /var/lib/ums: the COMMIT`,
      "then arrives by itself. If there is no path from here: `ums commit export` here, `ums commit",
      `import\` there. If ${peer} is dead for good: \`ums rollback --fenced\` here, which says what must`,
      "be true first. Until then delete neither outer container.",
    ].join("\n"),
    inDoubt: true,
  }),
  DONE: ({ peer }) =>
    row("peer", `the service runs at ${peer}; the frozen copy here is being ended`, byItself),
  RETIRED: ({ peer }) =>
    row(
      "peer",
      `the service runs at ${peer}; this outer container relays to it until it is deleted`,
      "Delete this outer container when no client uses its address any more.",
    ),
  ABORTED: () => row("here", "the migration failed and the service is being thawed here", byItself),
  ROLLED_BACK: () =>
    row("here", "the migration was rolled back and the service is being thawed here", byItself),
};

export const destinationTable: Record<DestinationPhase, Row> = {
  PASSIVE: () => row("nobody", "stands by to receive a service"),
  RESERVED: receiving,
  RECEIVING: receiving,
  VERIFIED: receiving,
  RESTORING: receiving,
  PREPARED: ({ peer }) => ({
    owner: "undecided",
    why: `holds the whole service, frozen; ${peer} decides, and has not been heard yet`,
    next: [
      `Make ${peer} reachable, or start its outer container again with its /var/lib/ums: it is asked`,
      "again and again by itself. If it has committed and there is no path from it: `ums commit",
      `export\` there, \`ums commit import\` here. If ${peer} is dead for good: \`ums takeover --fenced\``,
      "here, which says what must be true first. Until then delete neither outer container.",
    ].join("\n"),
    inDoubt: true,
  }),
  OWNER: ({ isFenced }) => ({
    owner: "here",
    why: `the service is ours${isFenced ? ", by takeover --fenced," : ""} and is being thawed`,
    next: [
      "Wait: the thaw is repeated by itself. If this lasts, read the log of this outer container; a",
      "restart of it starts the service afresh from its files, without its memory.",
    ].join("\n"),
    inDoubt: true,
  }),
  RUNNING: ({ isFenced }) =>
    row("here", `the service runs here${isFenced ? ", by takeover --fenced" : ""}`),
  REFUSED: ({ peer, reason }) => ended("this side refused the service", peer, reason),
  DISCARDED: ({ peer, reason }) => ended("the migration was given up", peer, reason),
};

const untilDecision = "Wait: it ends by itself. `ums cancel` keeps the service here.";
const byItself = "Wait: it is repeated by itself. If this lasts, read the log.";

function receiving({ peer }: ExplainFacts): Explanation {
  const why = `receives the service of ${peer}, where it is until it is handed over`;
  return row("peer", why, "Wait: it ends by itself. `ums cancel` at the source keeps it there.");
}

function ended(what: string, peer: string, reason: string | undefined): Explanation {
  const because = reason === undefined ? "" : ` (${reason})`;
  return row(
    "peer",
    `${what}${because}; it is at ${peer}`,
    "When the cause is gone, migrate again from there.",
  );
}

function row(owner: Owner, why: string, next = ""): Explanation {
  return { owner, why, next, inDoubt: false };
}
