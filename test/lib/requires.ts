/** What a test file needs from the machine, stated at its top, as runc's bats tests do. */
import { accessSync, constants } from "node:fs";
import { join } from "node:path";

const searchPath = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/**
 * Says whether all needs are met (`root`, or the name of a program). When one is not, prints
 * `skipped: ...`, which the runner counts: a test is never left out silently.
 */
export function requires(...needs: string[]): boolean {
  const missing = needs.filter((need) => !isMet(need));
  if (missing.length > 0) console.log(`skipped: needs ${missing.join(", ")}`);
  return missing.length === 0;
}

function isMet(need: string): boolean {
  if (need === "root") return process.getuid?.() === 0;
  return searchPath.some((directory) => isExecutable(join(directory, need)));
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    // Not there, or not for us: either way the test cannot use it.
    return false;
  }
}
