/** Opens the driver of an orchestrator; only the one that is used is loaded. */
import { UmsError } from "../errors.js";
import type { Orchestrator, OrchestratorKind } from "./contract.js";

export interface OrchestratorOptions {
  kind: OrchestratorKind;
  /** Of the orchestrator's API; undefined: where it is by default on its own machine. */
  address?: string;
  /** Address or name at which ports published on this machine are reached from others. */
  publicHost?: string;
}

/** What each driver's module exports. */
export interface DriverModule {
  openDriver(options: OrchestratorOptions): Promise<Orchestrator>;
}

const drivers: Partial<Record<OrchestratorKind, string>> = {
  docker: "./docker/driver.js",
  swarm: "./swarm/driver.js",
  podman: "./podman/driver.js",
};

/** @throws ERR_CONFIG_INVALID for a kind without a driver; ERR_ORCHESTRATOR_UNAVAILABLE */
export async function openOrchestrator(options: OrchestratorOptions): Promise<Orchestrator> {
  const path = drivers[options.kind];
  if (path === undefined) throw unknownKind(options.kind);
  const module = (await import(path)) as DriverModule;
  return module.openDriver(options);
}

function unknownKind(kind: string): UmsError {
  return new UmsError("ERR_CONFIG_INVALID", `there is no driver for the orchestrator "${kind}"`, {
    hint: `choose one of ${Object.keys(drivers).join(", ")}`,
  });
}
