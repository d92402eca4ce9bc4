/** Requests and answers between the supervisors that are lost, come twice, or come much later. */
import type { Arm, Cell, Outcome } from "../cell.js";
import { replayAll } from "../replay.js";
import { pausedAt } from "./paused.js";

const calls: readonly { name: string; lost: Outcome; because?: Arm }[] = [
  { name: "Reserve", lost: "aborted" },
  { name: "Provision", lost: "aborted" },
  { name: "Arm", lost: "aborted" },
  { name: "Prepare", lost: "aborted" },
  { name: "Commit", lost: "moved" },
  {
    name: "Abort",
    lost: "aborted",
    because: { on: "source", point: "source.do.prepare", action: "fail" },
  },
];

const faults = [
  { fault: "request lost", at: "send", action: "fail" },
  { fault: "answer lost", at: "answer", action: "fail" },
  { fault: "request repeated", at: "send", action: "repeat" },
] as const;

const lost: Cell[] = calls.flatMap(({ name, lost: outcome, because }) =>
  faults.map(({ fault, at, action }) => ({
    category: "call",
    fault,
    state: `call.${name}.${at}`,
    expect: action === "repeat" && because === undefined ? ("moved" as const) : outcome,
    arm: [
      ...(because === undefined ? [] : [because]),
      { on: "source" as const, point: `call.${name}.${at}`, action },
    ],
    isFast: name === "Commit" && at === "answer",
  })),
);

/** The destination asks while the source, which has committed, says nothing. */
const query: Cell[] = faults.map(({ fault, at, action }) => ({
  category: "call",
  fault,
  state: `call.Query.${at}`,
  expect: "moved" as const,
  arm: [
    { on: "source" as const, point: "source.do.send-commit", action: "pause" as const },
    { on: "destination" as const, point: `call.Query.${at}`, action },
  ],
  async act({ source, destination }) {
    await destination.reached(`call.Query.${at}`);
    await destination.whenPhase("RUNNING");
    await source.release("source.do.send-commit");
  },
}));

const late: Cell[] = [
  {
    category: "call",
    fault: "every call of the migration comes again later",
    state: "after RUNNING",
    expect: "moved",
    after: replayAll,
    isFast: true,
  },
  {
    category: "call",
    fault: "every call of the migration comes again later",
    state: "after DISCARDED",
    expect: "aborted",
    arm: [{ on: "source", point: "source.do.prepare", action: "fail" }],
    after: replayAll,
  },
  {
    category: "call",
    fault: "every call of the migration comes again later",
    state: "after REFUSED",
    expect: "aborted",
    arm: [{ on: "destination", point: "destination.do.restore", action: "fail" }],
    after: replayAll,
  },
];

/** The two supervisors' own certificates, so that only the state can refuse it. */
const wrong: Cell[] = [
  pausedAt({
    category: "call",
    fault: "Prepare with another digest",
    on: "source",
    point: "call.Prepare.send",
    expect: "aborted",
    meanwhile: async ({ source, destination }) => {
      const { peer, ref } = await source.asPeerOf(destination);
      const { refused } = await peer.prepare(ref, "0".repeat(64), [], 10_000);
      peer.close();
      if (refused?.code !== "ERR_MANIFEST_MISMATCH") throw new Error(`not refused: ${refused}`);
    },
  }),
  pausedAt({
    category: "call",
    fault: "Commit with another digest",
    on: "source",
    point: "source.record.COMMITTED",
    expect: "moved",
    meanwhile: async ({ source, destination }) => {
      const { peer, ref } = await source.asPeerOf(destination);
      await refuses(peer.commit(ref, "0".repeat(64)), "ERR_EPOCH_STALE");
      peer.close();
    },
  }),
  pausedAt({
    category: "call",
    fault: "Commit of an older epoch",
    on: "source",
    point: "source.record.COMMITTED",
    expect: "moved",
    meanwhile: async ({ source, destination }) => {
      const { peer, ref, digest } = await source.asPeerOf(destination);
      const older = { ...ref, epoch: ref.epoch - 1 };
      await refuses(peer.commit(older, digest), "ERR_MIGRATION_NOT_FOUND");
      peer.close();
    },
  }),
  pausedAt({
    category: "call",
    fault: "Commit and Abort by another peer",
    on: "source",
    point: "source.record.COMMITTED",
    expect: "moved",
    meanwhile: async ({ source, destination }) => {
      const { ref, digest } = await source.ownMigration();
      const { peer } = await destination.asPeerOf(destination);
      await refuses(peer.commit(ref, digest), "ERR_PEER_IDENTITY");
      await refuses(peer.abort(ref, "not mine"), "ERR_PEER_IDENTITY");
      peer.close();
    },
  }),
];

async function refuses(call: Promise<unknown>, code: string): Promise<void> {
  const error = await call.then(
    (answer) => new Error(`answered ${JSON.stringify(answer)}`),
    (thrown: Error) => thrown,
  );
  if ((error as { code?: string }).code !== code) throw new Error(`${code} expected: ${error}`);
}

export const messages: readonly Cell[] = [...lost, ...query, ...late, ...wrong];
