/** Cells that do something from outside while the migration waits at a point. */
import type { Cell, Role, Scene } from "../cell.js";

export interface PausedOptions extends Omit<Cell, "arm" | "act" | "state"> {
  on: Role;
  point: string;
  /** Further arms, e.g. what makes the migration come to the point. */
  also?: Cell["arm"];
  /** While it waits. */
  meanwhile(scene: Scene): Promise<void>;
  /** After it was let go. */
  afterwards?(scene: Scene): Promise<void>;
}

export function pausedAt({ on, point, also, meanwhile, afterwards, ...cell }: PausedOptions): Cell {
  return {
    ...cell,
    state: point,
    arm: [...(also ?? []), { on, point, action: "pause" }],
    async act(scene) {
      await scene.side(on).reached(point);
      await meanwhile(scene);
      await scene.side(on).release(point);
      await afterwards?.(scene);
    },
  };
}
