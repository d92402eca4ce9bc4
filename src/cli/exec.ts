import { once } from "node:events";
import type { Command } from "commander";
import { start, toolEnvironment } from "../lib/exec.js";
import { serviceName } from "../nested/names.js";
import { openPty, type Pty } from "../terminal/pty.js";
import { enterRawMode } from "../terminal/raw-mode.js";
import type { CliContext } from "./program.js";

/** Size of a terminal when we have none ourselves: the VT100's. */
const defaultSize = { rows: 24, columns: 80 };

interface ExecOptions {
  interactive?: boolean;
  tty?: boolean;
}

/**
 * `ums exec [-i] [-t] -- COMMAND`: runs a command in the nested container, where `docker exec` and
 * `kubectl exec` on the outer one would show the supervisor's own surroundings. The exit code is
 * the command's.
 */
export function registerExec(program: Command, context: CliContext): void {
  program
    .command("exec")
    .description("run a command in the nested container")
    .option("-i, --interactive", "pass stdin on")
    .option("-t, --tty", "give the command a terminal")
    .passThroughOptions()
    .argument("<command...>")
    .action(async (command: string[], options: ExecOptions) => {
      context.setExitCode(await execute(command, options));
    });
}

async function execute(command: string[], options: ExecOptions): Promise<number> {
  // With -t always -i too: only then does the docker client put its terminal, our pty, into raw
  // mode, which keeps it from adding a second CR to each line.
  const flags = options.tty ? ["-i", "-t"] : options.interactive ? ["-i"] : [];
  const argv: [string, ...string[]] = ["docker", "exec", ...flags, serviceName, ...command];
  if (options.tty) return await onTerminal(argv, options.interactive ?? false);
  const child = start(argv, { stdio: "inherit" });
  const [exitCode] = (await once(child, "exit")) as [number | null];
  return exitCode ?? 1;
}

/**
 * Gives the command a terminal of its own, also where we have none (`docker exec -t` refuses
 * then), with the size of ours where there is one.
 */
async function onTerminal(argv: [string, ...string[]], isInteractive: boolean): Promise<number> {
  const { stdin, stdout } = process;
  const size = () => (stdout.isTTY ? { rows: stdout.rows, columns: stdout.columns } : defaultSize);
  const pty = openPty({ argv, env: { ...toolEnvironment, TERM: "xterm" }, size: size() });
  pty.onOutput((bytes) => void stdout.write(bytes));
  stdout.on("resize", () => pty.resize(size()));
  const leaveRawMode = stdin.isTTY ? await enterRawMode(stdin) : undefined;
  if (isInteractive) passInput(stdin, pty);
  try {
    return await pty.exited;
  } finally {
    await leaveRawMode?.();
  }
}

/** End of file on a terminal is a character in the stream: ctrl-D (man 3 termios, VEOF). */
const endOfTransmission = Buffer.of(4);

function passInput(stdin: NodeJS.ReadStream, pty: Pty): void {
  stdin.on("data", (bytes: Buffer) => pty.write(bytes));
  stdin.on("end", () => pty.write(endOfTransmission));
}
