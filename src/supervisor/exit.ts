import { existsSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { UmsError } from "../errors.js";
import type { ServiceExit } from "../nested/life.js";

/** Read by the entrypoint: without it the end of the supervisor counts as a crash. */
export const exitCodePath = "/run/ums/exit-code";
/** The kubelet shows what is written here as the reason a container ended. */
const terminationLogPath = "/dev/termination-log";

/** Ends the outer container with `exitCode`, giving the reason where someone reads it. */
export async function recordExit(exitCode: number, reason: string): Promise<void> {
  if (existsSync(terminationLogPath)) await writeFile(terminationLogPath, reason);
  await writeFile(exitCodePath, String(exitCode));
}

/** True when the outer container is about to end, not only this supervisor. */
export function isExitRecorded(): boolean {
  return existsSync(exitCodePath);
}

export function describeExit(exit: ServiceExit): string {
  if (exit.outOfMemory) return `the service ran out of memory (exit code ${exit.exitCode})`;
  return exit.exitCode > 128
    ? `the service was ended by signal ${exit.exitCode - 128}`
    : `the service ended with exit code ${exit.exitCode}`;
}

/**
 * Exit code for a service that could not be run at all: as docker run has them (125 engine, 126
 * not executable, 127 not found), 78 (sysexits EX_CONFIG) for a wrong configuration, 69
 * (EX_UNAVAILABLE) when the inner engine does not come up.
 */
export function failureExitCode(thrown: unknown): number {
  const error = UmsError.from(thrown);
  // A damaged journal: whether this copy may run is unknown, so none is started.
  if (error.kind === "usage" || error.code === "ERR_JOURNAL_CORRUPT") return 78;
  if (error.code === "ERR_DOCKERD_NOT_READY") return 69;
  if (/executable file not found|no such file or directory.*: unknown/i.test(error.message)) {
    return 127;
  }
  return /permission denied|exec format error|is a directory/i.test(error.message) ? 126 : 125;
}
