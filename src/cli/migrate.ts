/** `ums migrate`: moves the service and shows how it goes. */
import { readFile } from "node:fs/promises";
import type { Command } from "commander";
import { type ErrorKind, exitCodes, UmsError } from "../errors.js";
import type { ResultView } from "../migration/view.js";
import { addConnectionFlags, type ConnectionFlags, withSupervisor } from "./connection.js";
import type { CliContext } from "./program.js";
import { createProgressDisplay } from "./progress-display.js";

interface MigrateFlags extends ConnectionFlags {
  to: string;
  name?: string;
  downtimeBudget: string;
  token?: string;
  tokenFile?: string;
  output: "text" | "json";
}

export function registerMigrate(program: Command, context: CliContext): void {
  addConnectionFlags(program.command("migrate"))
    .description("move the service, live, to another outer container")
    .argument("[service]", "name of the service (default: the one here)")
    .requiredOption("--to <address>", "Migration Interface of the destination, HOST:PORT")
    .option("--name <name>", "name the destination's certificate must carry")
    .option("--token <token>", "of `ums token` at the destination (default: UMS_TOKEN)")
    .option("--token-file <file>", "the same from a file; - for the standard input")
    .option("--downtime-budget <ms>", "longest freeze accepted, milliseconds", "30000")
    .option("--output <format>", "text or json", "text")
    .action(async (service: string | undefined, flags: MigrateFlags) => {
      const token = await readToken(flags, context.env);
      const result = await migrate(service ?? "", token, flags).catch((thrown: unknown) =>
        tellState(flags, thrown),
      );
      if (flags.output === "json") process.stdout.write(`${toJson(result)}\n`);
      if (result.failure === undefined) return;
      context.setExitCode(exitCodes[result.failure.kind]);
      process.stderr.write(explain(result.failure, result.runsOn));
    });
}

/** Empty: none. @throws ERR_CONFIG_INVALID */
async function readToken(flags: MigrateFlags, env: NodeJS.ProcessEnv): Promise<string> {
  const { token, tokenFile } = flags;
  if (token !== undefined && tokenFile !== undefined) {
    throw new UmsError("ERR_CONFIG_INVALID", "give one of --token and --token-file");
  }
  if (tokenFile === undefined) return (token ?? env["UMS_TOKEN"] ?? "").trim();
  try {
    const text = await readFile(tokenFile === "-" ? "/dev/stdin" : tokenFile, "utf8");
    if (text.trim() !== "") return text.trim();
  } catch (cause) {
    const { message } = cause as Error;
    throw new UmsError("ERR_CONFIG_INVALID", `no token can be read: ${message}`, { cause });
  }
  throw new UmsError("ERR_CONFIG_INVALID", `there is no token in ${tokenFile}`);
}

async function migrate(service: string, token: string, flags: MigrateFlags): Promise<ResultView> {
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
          token,
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

/** A request that came to no outcome: the error, and what the supervisor says of the service. */
async function tellState(flags: MigrateFlags, thrown: unknown): Promise<never> {
  const error = UmsError.from(thrown);
  if (error.kind === "usage" || error.kind === "identity") throw error;
  const said = await withSupervisor(flags, (client) => client.status()).then(
    ({ explanation, next }) => [explanation, next],
    () => ["it is not known here where the service runs: `ums status` on both sides tells"],
  );
  const hint = [error.hint ?? "", ...said].filter((line) => line !== "").join("\n  ");
  throw new UmsError(error.code, error.message, { hint, details: error.details, cause: error });
}

/** What to do after a failure that came without advice of its own (docs/errors.md). */
const nextSteps: Record<ErrorKind, string> = {
  usage: "correct the setting that the message names, then migrate again",
  identity: "check the certificates and names of both sides, then migrate again",
  missing: "check the name, then migrate again",
  conflict: "wait until that has ended (`ums status` on both sides), then migrate again",
  unsupported: "choose another destination, or do not migrate this service",
  limit: "make room or choose another destination, then migrate again",
  deadline: "migrate again; if it is the same step again, look at the load and the network",
  unavailable: "make it reachable, then migrate again",
  integrity: "migrate again; if it comes back, look for what changes bytes on the way",
  tool: "read the log, then migrate again",
  cancelled: "migrate again whenever you like",
};

/** What failed, where the service runs, what to do, and the tool's own words. */
export function explain(failure: UmsError, runsOn: string): string {
  const { message, code, hint } = failure;
  const { logTail, logPath } = failure.details;
  return [
    `ums: ${message} (${code})`,
    `  the service runs on the ${runsOn}`,
    `  ${hint ?? nextSteps[failure.kind]}`,
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
