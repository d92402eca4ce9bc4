/** What the routes are made of. */
import type { Logger } from "../../lib/log.js";
import type { Orchestrator } from "../../orchestrators/contract.js";
import type { Arrivals } from "../arrivals/arrivals.js";
import type { DecisionMaker } from "../decisions/contract.js";
import type { Evacuations } from "../decisions/evacuations.js";
import type { Migrations } from "../migrations/migrations.js";
import type { OuterContainers } from "../outer.js";
import type { PeerCoordinators } from "../peers.js";
import type { Survey } from "../plan/survey.js";

export interface ApiDeps {
  /** Name of this system. */
  system: string;
  version: string;
  log: Logger;
  orchestrator: Orchestrator;
  outer: OuterContainers;
  peers: PeerCoordinators;
  survey: Survey;
  migrations: Migrations;
  arrivals: Arrivals;
  evacuations: Evacuations;
  decide: DecisionMaker;
  /** Record files that were damaged at the start. */
  brokenRecords: readonly string[];
}
