/** The service goes from A to B, then to C with a fault on the way, then home to A. */
import type { Cell, Outcome, Role } from "../cell.js";

const middles: readonly [Role, string, Outcome][] = [
  ["source", "source.do.dump", "aborted"],
  ["source", "source.do.send-commit", "moved"],
  ["source", "source.do.kill", "moved"],
  ["destination", "destination.do.restore", "aborted"],
  ["destination", "destination.do.thaw", "moved"],
];

export const hops: readonly Cell[] = middles.map(([on, point, expect]) => ({
  category: "hop",
  fault: `A, B, C, A: kill -9 of the ${on}'s supervisor on the way to C`,
  state: point,
  expect,
  boundMs: 180_000,
  pair: {},
  arm: [{ on, point, action: "kill" as const }],
  /** The client stays connected to A, which is not part of the hop with the fault. */
  async prepare(pair) {
    await pair.source.outer.move(pair.destination.outer);
    const c = await pair.addSide();
    pair.passOn(c);
  },
  async finish(pair) {
    const [a] = pair.others;
    if (a === undefined) throw new TypeError("A is the third");
    await pair.source.outer.move(a.outer);
  },
}));
