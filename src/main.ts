#!/usr/bin/env node
import { checkHealth } from "./cli/health.js";

/** A bug, by sysexits.h's EX_SOFTWARE. */
const bugExitCode = 70;

// Whatever is still open (a stdin nobody closes, an idle connection) must not keep the process.
process.exit(await main(process.argv));

async function main(argv: string[]): Promise<number> {
  // Before all else is loaded: see there.
  if (argv.length === 3 && argv[2] === "health") return await checkHealth(process.env);
  const { createProgram } = await import("./cli/program.js");
  let exitCode = 0;
  const program = createProgram({
    env: process.env,
    setExitCode(code) {
      exitCode = code;
    },
  });
  try {
    await program.parseAsync(argv);
    return exitCode;
  } catch (thrown) {
    return await report(thrown);
  }
}

async function report(thrown: unknown): Promise<number> {
  const { exitCodes, UmsError } = await import("./errors.js");
  if (!(thrown instanceof UmsError)) {
    process.stderr.write(
      `${thrown instanceof Error ? (thrown.stack ?? thrown.message) : thrown}\n`,
    );
    return bugExitCode;
  }
  process.stderr.write(`ums: ${thrown.message} (${thrown.code})\n`);
  if (thrown.hint !== undefined) process.stderr.write(`  ${thrown.hint}\n`);
  return exitCodes[thrown.kind];
}
