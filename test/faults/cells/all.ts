/** Every cell of the matrix. */
import type { Cell } from "../cell.js";
import { messages } from "./calls.js";
import { cancels } from "./cancels.js";
import { crashes } from "./crashes.js";
import { data } from "./data.js";
import { disks } from "./disks.js";
import { hops } from "./hops.js";
import { links } from "./links.js";
import { outers } from "./outers.js";
import { skews } from "./skews.js";
import { stops } from "./stops.js";
import { tools } from "./tools.js";

export const cells: readonly Cell[] = [
  ...crashes,
  ...messages,
  ...links,
  ...cancels,
  ...stops,
  ...outers,
  ...tools,
  ...skews,
  ...data,
  ...disks,
  ...hops,
];
