/** `ums migrate`: moves the service and shows how it goes. */
import type { Command } from "commander";
import { exitCodes, UmsError } from "../errors.js";
import type { ResultView } from "../migration/view.js";
import { addConnectionFlags, type ConnectionFlags, withSupervisor } from "./connection.js";
import type { CliContext } from "./program.js";
import { createProgressDisplay } from "./progress-display.js";

interface MigrateFlags extends ConnectionFlags {
  to: string;
  name?: string;
  downtimeBudget: string;
  output: "text" | "json";
}

export function registerMigrate(program: Command, context: CliContext): void {
  addConnectionFlags(program.command("migrate"))
    .description("move the service, live, to another outer container")
    .argument("[service]", "name of the service (default: the one here)")
    .requiredOption("--to <address>", "Migration Interface of the destination, HOST:PORT")
    .option("--name <name>", "name the destination's certificate must carry")
    .option("--downtime-budget <ms>", "longest freeze accepted, milliseconds", "30000")
    .option("--output <format>", "text or json", "text")
    .action(async (service: string | undefined, flags: MigrateFlags) => {
      const result = await migrate(service ?? "", flags);
      if (flags.output === "json") process.stdout.write(`${toJson(result)}\n`);
      if (result.failure === undefined) return;
      context.setExitCode(exitCodes[result.failure.kind]);
      process.stderr.write(explain(result.failure, result.runsOn));
    });
}

async function migrate(service: string, flags: MigrateFlags): Promise<ResultView> {
  const downtimeBudgetMs = Number(flags.downtimeBudget);
  if (!Number.isInteger(downtimeBudgetMs) || downtimeBudgetMs < 1) {
    throw new UmsError(
      "ERR_CONFIG_INVALID",
      `"${flags.downtimeBudget}" is not a number of milliseconds`,
    );
  }
  const display = createProgressDisplay(flags.output === "json" ? undefined : process.stdout);
  try {
    const result = await withSupervisor(flags, (client) =>
      client.migrate(
        {
          destination: flags.to,
          destinationName: flags.name ?? "",
          service,
          downtimeBudgetMs,
        },
        (progress) => display.show(progress),
      ),
    );
    display.end(result);
    return result;
  } finally {
    display.close();
  }
}

/** What failed, where the service runs, what to do, and the tool's own words. */
function explain(failure: UmsError, runsOn: string): string {
  const { message, code, hint } = failure;
  const { logTail, logPath } = failure.details;
  return [
    `ums: ${message} (${code})`,
    `  the service runs on the ${runsOn}`,
    ...(hint === undefined ? [] : [`  ${hint}`]),
    ...(typeof logTail === "string" ? [logTail.replace(/^/gm, "  | ")] : []),
    ...(typeof logPath === "string" ? [`  the whole log: ${logPath}, where it failed`] : []),
    "",
  ].join("\n");
}

function toJson({ failure, ...result }: ResultView): string {
  if (failure === undefined) return JSON.stringify(result);
  const { code, message, hint, details } = failure;
  return JSON.stringify({ ...result, failure: { code, message, hint, details } });
}
