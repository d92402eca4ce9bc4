/** Opens the driver of an orchestrator; only the one that is used is loaded. */
import { UmsError } from "../errors.js";
import type { Orchestrator, OrchestratorKind } from "./contract.js";

export interface OrchestratorOptions {
  kind: OrchestratorKind;
  /** Of the orchestrator's API; undefined: where it is by default on its own machine. */
  address?: string;
  /**
   * Where supervisors are reached from other machines, and ports of the machine that new outer
   * containers may take. Undefined: at the container's own address.
   */
  published?: { host: string; ports: { first: number; last: number } };
  /** Certificates of the outer containers that are made, mounted at /etc/ums/tls. */
  outerTls?: { kind: "volume" | "bind" | "config"; source: string };
  /** Directories of the machine that a service from elsewhere may have bound. */
  allowedBinds: readonly string[];
}

/** @throws ERR_CONFIG_INVALID for a kind without a driver, or what it cannot do */
export async function openOrchestrator(options: OrchestratorOptions): Promise<Orchestrator> {
  switch (options.kind) {
    case "docker":
      return openDockerDriver(options);
    default:
      throw new UmsError(
        "ERR_CONFIG_INVALID",
        `there is no driver for the orchestrator "${options.kind}" yet`,
        { hint: "choose docker" },
      );
  }
}

const defaultDockerAddress = "unix:///var/run/docker.sock";

async function openDockerDriver(options: OrchestratorOptions): Promise<Orchestrator> {
  const { openDocker } = await import("./docker/driver.js");
  const { address = defaultDockerAddress, published, outerTls, allowedBinds } = options;
  if (outerTls?.kind === "config") {
    throw new UmsError("ERR_CONFIG_INVALID", "a Docker engine has no secrets to mount", {
      hint: "give the certificates as a volume or a directory (bind)",
    });
  }
  return openDocker({
    address,
    allowedBinds,
    ...(published === undefined ? {} : { published }),
    ...(outerTls === undefined
      ? {}
      : { outerTls: { kind: outerTls.kind, source: outerTls.source } }),
  });
}
