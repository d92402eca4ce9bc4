import type { Command } from "commander";
import { loadConfig } from "../config.js";
import { UmsError } from "../errors.js";
import { createLogger } from "../lib/log.js";
import { failureExitCode, recordExit } from "../supervisor/exit.js";
import { runSupervisor } from "../supervisor/main.js";
import type { CliContext } from "./program.js";

/** `ums supervise -- ARGUMENTS`: what the entrypoint runs; not for people. */
export function registerSupervise(program: Command, context: CliContext): void {
  program
    .command("supervise", { hidden: true })
    .argument("[arguments...]", "arguments of the nested service")
    .action(async (args: string[]) => {
      context.setExitCode(await supervise(args, context));
    });
}

async function supervise(args: string[], context: CliContext): Promise<number> {
  const config = await configOrEnd(context);
  if (typeof config === "number") return config;
  return await runSupervisor({
    config,
    args,
    log: createLogger(config.UMS_LOG_LEVEL),
    // Only SIGTERM is an order that still holds for the next supervisor; other signals were
    // delivered to the service when they came.
    isStopPending: context.env["UMS_PENDING_SIGNAL"] === "TERM",
  });
}

/** A wrong configuration is not a crash: starting again would not help. */
async function configOrEnd(context: CliContext) {
  try {
    return loadConfig(context.env);
  } catch (thrown) {
    const error = UmsError.from(thrown);
    createLogger("info").fatal({ code: error.code, hint: error.hint }, error.message);
    const exitCode = failureExitCode(error);
    await recordExit(exitCode, error.message);
    return exitCode;
  }
}
