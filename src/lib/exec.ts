/**
 * Running other programs: argument arrays only, never a shell, always a deadline.
 */
import {
  type ChildProcess,
  execFile,
  spawn as nodeSpawn,
  type SpawnOptions,
} from "node:child_process";
import { UmsError } from "../errors.js";

export interface RunOptions {
  /** Kills the program after this long. Default 30,000. */
  timeoutMs?: number;
  signal?: AbortSignal;
  cwd?: string;
  /** Whole environment of the program; default is {@link toolEnvironment}. */
  env?: NodeJS.ProcessEnv;
  /** Written to the program's stdin, which is then closed. */
  input?: string;
  /** Largest accepted output, bytes. Default 16 MiB. */
  maxOutputBytes?: number;
}

export interface RunResult {
  stdout: string;
  stderr: string;
}

/**
 * Environment for the tools we start: nothing of the service's own environment reaches them, so an
 * `LD_PRELOAD` or `PATH` meant for the service cannot change what our tools do.
 */
export const toolEnvironment: NodeJS.ProcessEnv = {
  PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
  LC_ALL: "C.UTF-8",
  HOME: "/root",
};

const stderrTailChars = 2_000;

/**
 * Runs a program to its end.
 * @throws ERR_COMMAND_FAILED when it cannot start, is killed or exits other than 0; `details` holds
 *   `{ argv, exitCode, signal, stderrTail }` so that the command can be pasted into a shell.
 */
export function run(argv: readonly string[], options: RunOptions = {}): Promise<RunResult> {
  const [file, ...args] = argv;
  if (file === undefined) throw new TypeError("empty argv");
  return new Promise((resolve, reject) => {
    const child = execFile(
      file,
      args,
      {
        cwd: options.cwd,
        env: options.env ?? toolEnvironment,
        timeout: options.timeoutMs ?? 30_000,
        killSignal: "SIGKILL",
        maxBuffer: options.maxOutputBytes ?? 16 * 1024 * 1024,
        signal: options.signal,
        encoding: "utf8",
      },
      (error, stdout, stderr) => {
        if (error === null) resolve({ stdout, stderr });
        else reject(commandFailed(argv, child, error, stderr));
      },
    );
    child.stdin?.on("error", () => {
      // EPIPE: the program ended without reading its input; its exit status tells the rest.
    });
    if (options.input !== undefined) child.stdin?.end(options.input);
    else child.stdin?.end();
  });
}

/** Starts a program and leaves it running; the caller owns its life. */
export function start(argv: readonly string[], options: SpawnOptions = {}): ChildProcess {
  const [file, ...args] = argv;
  if (file === undefined) throw new TypeError("empty argv");
  return nodeSpawn(file, args, { env: toolEnvironment, ...options });
}

function commandFailed(
  argv: readonly string[],
  child: ChildProcess,
  error: Error,
  stderr: string,
): UmsError {
  const cancelled = error.name === "AbortError";
  const outcome = child.signalCode ?? child.exitCode ?? error.message;
  const stderrTail = stderr.slice(-stderrTailChars).trim();
  return new UmsError(
    cancelled ? "ERR_CANCELLED" : "ERR_COMMAND_FAILED",
    `${argv[0]} failed (${outcome})${stderrTail === "" ? "" : `: ${lastLine(stderrTail)}`}`,
    {
      details: { argv, exitCode: child.exitCode, signal: child.signalCode, stderrTail },
      cause: error,
    },
  );
}

function lastLine(text: string): string {
  return text.slice(text.lastIndexOf("\n") + 1);
}
