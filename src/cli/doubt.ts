/** `ums rollback`, `ums takeover`, `ums commit`: an operator's way out of a doubt. */
import { readFile, writeFile } from "node:fs/promises";
import { text } from "node:stream/consumers";
import type { Command } from "commander";
import { UmsError } from "../errors.js";
import { type DoubtOutcome, rollbackConditions, takeoverConditions } from "../migration/doubt.js";
import { addConnectionFlags, type ConnectionFlags, withSupervisor } from "./connection.js";

interface FencedFlags extends ConnectionFlags {
  fenced?: true;
}

export function registerDoubt(program: Command): void {
  addConnectionFlags(program.command("rollback"))
    .description(
      "at a source in COMMITTED whose destination is dead for good: run the service here",
    )
    .option("--fenced", "the destination's outer container can never run again")
    .addHelpText("after", `\n  ${rollbackConditions}`)
    .action(async (flags: FencedFlags) => {
      const isFenced = flags.fenced === true;
      const done = await withSupervisor(flags, (client) => client.rollBack(isFenced));
      process.stdout.write(`${done.migrationId} rolled back: the service runs here again\n`);
    });

  addConnectionFlags(program.command("takeover"))
    .description("at a destination in PREPARED whose source is dead for good: run the service here")
    .option("--fenced", "the source's outer container can never run again")
    .addHelpText("after", `\n  ${takeoverConditions}`)
    .action(async (flags: FencedFlags) => {
      const isFenced = flags.fenced === true;
      tell(await withSupervisor(flags, (client) => client.takeOver(isFenced)));
    });

  const commit = program
    .command("commit")
    .description("carry the source's decision to the destination by hand");

  addConnectionFlags(commit.command("export"))
    .description("at a source that has committed: print its decision, signed")
    .option("--out <file>", "write it there instead")
    .action(async (flags: ConnectionFlags & { out?: string }) => {
      const certificate = await withSupervisor(flags, (client) => client.exportCommit());
      if (flags.out === undefined) process.stdout.write(`${certificate}\n`);
      else await writeFile(flags.out, `${certificate}\n`);
    });

  addConnectionFlags(commit.command("import"))
    .description("at the destination: obey a decision that was exported at the source")
    .argument("<file>", "what `ums commit export` printed; - reads standard input")
    .action(async (file: string, flags: ConnectionFlags) => {
      const certificate = await read(file);
      tell(await withSupervisor(flags, (client) => client.importCommit(certificate)));
    });
}

function tell({ migrationId, state }: DoubtOutcome): void {
  process.stdout.write(`${migrationId} ${state}: the service runs here\n`);
}

async function read(file: string): Promise<string> {
  if (file === "-") return await text(process.stdin);
  try {
    return await readFile(file, "utf8");
  } catch (cause) {
    const message = `cannot read ${file}: ${(cause as Error).message}`;
    throw new UmsError("ERR_CONFIG_INVALID", message, { cause });
  }
}
