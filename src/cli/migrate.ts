/** `ums migrate`: moves the service and shows how it goes. */
import type { ServiceError } from "@grpc/grpc-js";
import type { Command } from "commander";
import { exitCodes, UmsError } from "../errors.js";
import type { MigrateEvent, Result } from "../gen/ums/migration/v1/migration.js";
import { failureFromWire } from "../peer/convert.js";
import { fromServiceError } from "../peer/grpc-status.js";
import { addConnectionFlags, type ConnectionFlags, connectSupervisor } from "./connection.js";
import { toJson } from "./json.js";
import type { CliContext } from "./program.js";
import { createProgressView } from "./progress-view.js";

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
      if (result.failure !== undefined) context.setExitCode(reportFailure(result));
    });
}

async function migrate(service: string, flags: MigrateFlags): Promise<Result> {
  const downtimeBudgetMs = Number(flags.downtimeBudget);
  if (!Number.isInteger(downtimeBudgetMs) || downtimeBudgetMs < 1) {
    throw new UmsError("ERR_CONFIG_INVALID", `"${flags.downtimeBudget}" is not milliseconds`);
  }
  const client = await connectSupervisor(flags);
  const view = createProgressView(flags.output === "json" ? undefined : process.stdout);
  try {
    const call = client.migrate({
      destination: flags.to,
      destinationName: flags.name ?? "",
      service,
      downtimeBudgetMs,
    });
    return await new Promise<Result>((resolve, reject) => {
      let result: Result | undefined;
      call.on("data", ({ event }: MigrateEvent) => {
        if (event?.$case === "progress") view.show(event.value);
        if (event?.$case === "result") result = event.value;
      });
      call.on("error", (error) => reject(fromServiceError(error as ServiceError, "Migrate")));
      call.on("end", () => {
        if (result === undefined) {
          reject(new UmsError("ERR_PEER_UNREACHABLE", "the supervisor ended without a result"));
          return;
        }
        view.end(result);
        resolve(result);
      });
    });
  } finally {
    view.close();
    client.close();
  }
}

/** Says what failed, where the service runs, and what to do. */
function reportFailure({ failure, runsOn }: Result): number {
  if (failure === undefined) return 0;
  const error = failureFromWire(failure);
  process.stderr.write(`ums: ${error.message} (${failure.code})\n`);
  process.stderr.write(`  the service runs on the ${runsOn}\n`);
  if (failure.hint !== "") process.stderr.write(`  ${failure.hint}\n`);
  if (failure.logTail !== "") {
    process.stderr.write(`${failure.logTail.replace(/^/gm, "  | ")}\n`);
  }
  return exitCodes[error.kind];
}
