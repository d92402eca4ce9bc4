/** The supervisor of either side, or of both, ends without a word at every point. */
import type { Cell, Scene } from "../cell.js";
import { allPoints, armAt, type Point } from "./points.js";

/** Points of `make test`'s subset: the decision, and both sides of it. */
const fast = new Set([
  "source.do.dump",
  "source.record.COMMITTED",
  "source.do.send-commit",
  "destination.do.verify",
  "destination.record.PREPARED",
  "destination.record.RUNNING",
]);

const alone: Cell[] = allPoints.map((point) => ({
  category: "crash",
  fault: `kill -9 of the ${point.on}'s supervisor`,
  state: point.point,
  expect: point.ends,
  arm: armAt(point, "kill"),
  isFast: fast.has(point.point),
}));

const both: Cell[] = allPoints.map((point) => ({
  category: "crash",
  fault: "kill -9 of both supervisors",
  state: point.point,
  expect: point.ends,
  arm: armAt(point, "pause"),
  act: (scene) => killBoth(scene, point),
  isFast: point.point === "destination.do.thaw",
}));

/** The side that did not reach the point loses its supervisor too, while the point still waits. */
const other: Cell[] = allPoints.map((point) => ({
  category: "crash",
  fault: `kill -9 of the ${otherRole(point)}'s supervisor`,
  state: point.point,
  expect: endWithout(point),
  arm: armAt(point, "pause"),
  act: (scene) => killOther(scene, point),
}));

export const crashes: readonly Cell[] = [...alone, ...both, ...other];

async function killBoth({ source, destination, side }: Scene, { on, point }: Point) {
  await side(on).reached(point);
  await Promise.all([source, destination].map((each) => each.signalSupervisor("SIGKILL")));
}

async function killOther({ side }: Scene, point: Point) {
  await side(point.on).reached(point.point);
  await side(otherRole(point)).signalSupervisor("SIGKILL");
  await side(point.on).release(point.point);
}

function otherRole({ on }: Point): "source" | "destination" {
  return on === "source" ? "destination" : "source";
}

/**
 * What was under way at the living side ends as far as it can: an answer that has come is used, and
 * a decision that has been made is carried out.
 */
function endWithout({ on, point, ends }: Point): Cell["expect"] {
  if (on === "destination") return ends;
  // The destination prepared before it died: the tree is held, and the source may commit.
  if (["call.Prepare.answer", "source.record.COMMITTED"].includes(point)) return "moved";
  // Before the destination was asked for anything, its supervisor is not needed.
  const unneeded = ["source.record.PREPARING", "source.do.reserve", "call.Reserve.send"];
  return unneeded.includes(point) ? "either" : ends;
}
