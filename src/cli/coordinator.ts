/** `ums coordinator`: the web service of one computing system. */
import type { Command } from "commander";
import { loadCoordinatorConfig } from "../coordinator/config.js";
import { openCoordinator } from "../coordinator/main.js";
import { createLogger } from "../lib/log.js";
import { openOrchestrator } from "../orchestrators/open.js";
import type { CliContext } from "./program.js";

/** Flag -> variable; a flag wins. */
const flags: [flag: string, variable: string, description: string][] = [
  ["system <name>", "UMS_COORDINATOR_SYSTEM", "name of this computing system"],
  ["orchestrator <kind>", "UMS_COORDINATOR_ORCHESTRATOR", "docker"],
  ["address <address>", "UMS_COORDINATOR_ORCHESTRATOR_ADDRESS", "of the orchestrator's API"],
  ["host <address>", "UMS_COORDINATOR_HOST", "this machine, as others reach published ports"],
  ["ports <first-last>", "UMS_COORDINATOR_OUTER_PORTS", "ports of it for new outer containers"],
  ["listen <host:port>", "UMS_COORDINATOR_LISTEN", "address of the API and the page"],
  ["tls <directory>", "UMS_COORDINATOR_TLS_DIR", "ca.crt, tls.crt and tls.key"],
  ["token-file <file>", "UMS_COORDINATOR_TOKEN_FILE", "API token for people and the page"],
  ["systems <list>", "UMS_COORDINATOR_SYSTEMS", "other systems, NAME=https://HOST:9753,..."],
  ["state <directory>", "UMS_COORDINATOR_STATE_DIR", "where its records are kept"],
];

export function registerCoordinator(program: Command, context: CliContext): void {
  const command = program
    .command("coordinator")
    .description("serve the Coordinator of one computing system (settings: docs/coordinator.md)");
  for (const [flag, variable, description] of flags) {
    command.option(`--${flag}`, `${description} (${variable})`);
  }
  command
    .option("--insecure", "no authentication, on a loopback address only; for trying out")
    .action((given: Record<string, string | boolean>) => run(given, context));
}

async function run(given: Record<string, string | boolean>, { env }: CliContext): Promise<void> {
  const config = loadCoordinatorConfig({ ...env, ...fromFlags(given) });
  const log = createLogger(config.logLevel);
  const stop = new Promise<NodeJS.Signals>((resolve) => {
    for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, resolve);
  });
  const { orchestrator, host, outerPorts, outerTls, allowedBinds } = config;
  const coordinator = await openCoordinator({
    config,
    log,
    openOrchestrator: () =>
      openOrchestrator({
        ...orchestrator,
        allowedBinds,
        ...(outerTls === undefined ? {} : { outerTls }),
        ...(host === undefined || outerPorts === undefined
          ? {}
          : { published: { host, ports: outerPorts } }),
      }),
  });
  log.info({ url: coordinator.url, system: config.system }, "Coordinator listens");
  const signal = await stop;
  log.info({ signal }, "Coordinator ends; migrations are carried on at its next start");
  await coordinator.close();
}

function fromFlags(given: Record<string, string | boolean>): Record<string, string> {
  const chosen: Record<string, string> = {};
  for (const [flag, variable] of flags) {
    const name = (flag.split(" ")[0] ?? "").replace(/-(.)/g, (_, letter) => letter.toUpperCase());
    const value = given[name];
    if (typeof value === "string") chosen[variable] = value;
  }
  if (given["insecure"] === true) chosen["UMS_COORDINATOR_INSECURE"] = "true";
  return chosen;
}
