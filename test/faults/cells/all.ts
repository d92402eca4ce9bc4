/** Every cell of the matrix. */
import type { Cell } from "../cell.js";
import { crashes } from "./crashes.js";

export const cells: readonly Cell[] = [...crashes];
