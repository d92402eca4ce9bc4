/** Whole outer containers end, and are started again by their orchestrator. */
import type { Cell, Outcome, Role, Scene } from "../cell.js";
import { pausedAt } from "./paused.js";

interface State {
  on: Role;
  point: string;
  expect: Outcome;
  /** How often the service begins anew. */
  restarts: number;
}

/** The service dies with the outer container that runs it, and starts again with it. */
const ofSource: readonly State[] = [
  { on: "source", point: "source.do.reserve", expect: "aborted", restarts: 1 },
  { on: "source", point: "source.do.precopy", expect: "aborted", restarts: 1 },
  { on: "source", point: "source.do.freeze", expect: "aborted", restarts: 1 },
  { on: "source", point: "source.do.dump", expect: "aborted", restarts: 1 },
  { on: "source", point: "call.Prepare.answer", expect: "aborted", restarts: 1 },
  { on: "source", point: "source.do.send-commit", expect: "moved", restarts: 0 },
  { on: "source", point: "call.Commit.answer", expect: "moved", restarts: 0 },
  { on: "source", point: "source.do.kill", expect: "moved", restarts: 0 },
];

/** From OWNER on the service is the destination's, and starts again there from its files. */
const ofDestination: readonly State[] = [
  { on: "destination", point: "destination.do.provision", expect: "aborted", restarts: 0 },
  { on: "destination", point: "destination.do.arm", expect: "aborted", restarts: 0 },
  { on: "destination", point: "destination.do.verify", expect: "aborted", restarts: 0 },
  { on: "destination", point: "destination.do.restore", expect: "aborted", restarts: 0 },
  { on: "destination", point: "destination.record.PREPARED", expect: "aborted", restarts: 0 },
  { on: "destination", point: "destination.record.OWNER", expect: "aborted", restarts: 0 },
  { on: "destination", point: "destination.do.thaw", expect: "moved", restarts: 1 },
  { on: "destination", point: "destination.record.RUNNING", expect: "moved", restarts: 1 },
  { on: "destination", point: "destination.do.own", expect: "moved", restarts: 1 },
];

const common = {
  category: "outer",
  boundMs: 120_000,
  breaksConnection: true,
  mayLack: true,
} as const;

const killed: Cell[] = [...ofSource, ...ofDestination].map((state) => ({
  ...common,
  ...state,
  fault: `the ${state.on} killed, docker start`,
  state: state.point,
  arm: [{ on: state.on, point: state.point, action: "pause" }],
  act: (scene) => endAndStart(scene, state),
}));

/** SIGTERM before the decision aborts and then ends the service, as it was asked to. */
const terminated: Cell[] = [...ofSource, ...ofDestination]
  .filter(({ point }) => !/send-commit|Commit.answer|do.kill|OWNER|thaw|RUNNING|own$/.test(point))
  .map((state) => ({
    ...common,
    ...state,
    fault: `docker stop of the ${state.on}, docker start`,
    state: state.point,
    arm: [{ on: state.on, point: state.point, action: "pause" }],
    async act(scene) {
      const { on, point } = state;
      const side = scene.side(on);
      await side.reached(point);
      const stopping = side.docker("stop", "--time", "30");
      // The abort is recorded while the point waits; the thaw comes after it. A destination ends.
      if (on === "source") {
        await side.whenPhase("ABORTED");
        await side.release(point);
      }
      await stopping;
      await start(scene, on);
    },
  }));

/** After the hand-over: the orchestrator must never get a second copy. */
const retired: Cell[] = [
  restartedAfter("docker restart of the source", async ({ source }) => {
    await source.docker("restart", "--time", "20");
    await source.refresh();
  }),
  restartedAfter("docker stop and start of the source", async ({ source }) => {
    await source.docker("stop", "--time", "20");
    await source.docker("start");
    await source.refresh();
  }),
  restartedAfter("docker kill and start of the source, twice", async ({ source }) => {
    for (let time = 0; time < 2; time += 1) {
      await source.docker("kill");
      await source.docker("start");
      await source.refresh();
    }
  }),
  {
    ...restartedAfter("docker restart of both", async ({ source, destination }) => {
      const both = [source, destination];
      await Promise.all(both.map((side) => side.docker("restart", "--time", "20")));
      await Promise.all(both.map((side) => side.refresh()));
    }),
    restarts: 1,
  },
];

function restartedAfter(fault: string, restart: (scene: Scene) => Promise<void>): Cell {
  return {
    ...common,
    fault,
    state: "after RETIRED",
    expect: "moved",
    async act(scene) {
      await scene.migrating;
      await scene.source.whenPhase("RETIRED");
      await restart(scene);
    },
  };
}

/** The service outlives its source's supervisor in COMMITTED while the destination is away. */
const doubt = pausedAt({
  ...common,
  fault: "docker restart of the destination in doubt",
  on: "source",
  point: "call.Commit.send",
  expect: "aborted",
  async meanwhile({ destination }) {
    await destination.docker("restart", "--time", "20");
    await destination.refresh();
  },
});

async function endAndStart(scene: Scene, { on, point }: State): Promise<void> {
  const side = scene.side(on);
  await side.reached(point);
  await side.die();
  await start(scene, on);
}

async function start({ side }: Scene, on: Role): Promise<void> {
  await side(on).docker("start");
  await side(on).refresh();
}

export const outers: readonly Cell[] = [...killed, ...terminated, ...retired, doubt];
