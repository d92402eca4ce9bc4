import { once } from "node:events";
import { buffer } from "node:stream/consumers";
import { within } from "../../src/lib/deadline.js";
import { start } from "../../src/lib/exec.js";

export interface CommandResult {
  exitCode: number | null;
  stdout: string;
  stderr: string;
}

/** Runs a program to its end, for tests that judge the exit code themselves. Default: 60 s. */
export async function finish(
  argv: readonly string[],
  { timeoutMs = 60_000, input = "" }: { timeoutMs?: number; input?: string | Buffer } = {},
): Promise<CommandResult> {
  const child = start(argv, { stdio: ["pipe", "pipe", "pipe"] });
  if (child.stdin === null || child.stdout === null || child.stderr === null) {
    throw new TypeError("three pipes");
  }
  child.stdin.on("error", () => {
    // EPIPE: it ended without reading its input; the exit code tells the rest.
  });
  child.stdin.end(input);
  const work = Promise.all([buffer(child.stdout), buffer(child.stderr), once(child, "exit")]);
  try {
    const [stdout, stderr, [exitCode]] = await within(timeoutMs, argv.join(" "), work);
    return { exitCode: exitCode as number | null, stdout: `${stdout}`, stderr: `${stderr}` };
  } catch (error) {
    child.kill("SIGKILL");
    throw error;
  }
}
