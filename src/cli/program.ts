import { Command } from "commander";
import { registerBuild } from "./build.js";
import { registerCoordinator } from "./coordinator.js";
import { registerDoubt } from "./doubt.js";
import { registerDrain } from "./drain.js";
import { registerExec } from "./exec.js";
import { registerFrontman } from "./frontman.js";
import { checkHealth } from "./health.js";
import { registerMigrate } from "./migrate.js";
import { registerPki } from "./pki.js";
import { registerStatus } from "./status.js";
import { registerSupervise } from "./supervise.js";
import { registerToken } from "./token.js";

/** What a verb needs from the process it runs in. */
export interface CliContext {
  env: NodeJS.ProcessEnv;
  setExitCode(exitCode: number): void;
}

/** Puts the verbs of `ums` together. */
export function createProgram(context: CliContext): Command {
  const program = new Command("ums")
    .description("Live migration of containerized services")
    .showHelpAfterError()
    .enablePositionalOptions();
  registerSupervise(program, context);
  registerMigrate(program, context);
  registerToken(program);
  registerStatus(program);
  registerDrain(program);
  program
    .command("health")
    .description("tell whether the nested service is healthy")
    .action(async () => context.setExitCode(await checkHealth(context.env)));
  registerFrontman(program);
  registerDoubt(program);
  registerExec(program, context);
  registerBuild(program, context);
  registerCoordinator(program, context);
  registerPki(program);
  return program;
}
