#!/usr/bin/env node
import { createProgram } from "./cli/program.js";
import { exitCodes, UmsError } from "./errors.js";

/** A bug, by sysexits.h's EX_SOFTWARE. */
const bugExitCode = 70;

let exitCode = 0;
const program = createProgram({
  env: process.env,
  setExitCode(code) {
    exitCode = code;
  },
});

try {
  await program.parseAsync(process.argv);
} catch (thrown) {
  exitCode = report(thrown);
}
// Whatever is still open (a stdin nobody closes, an idle connection) must not keep the process.
process.exit(exitCode);

function report(thrown: unknown): number {
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
