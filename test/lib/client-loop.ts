/** Programs that put load on a service, run as clients on this machine, from an image that has them. */
import { run } from "../../src/lib/exec.js";
import { type CommandResult, finish } from "./command.js";

export interface ClientLoop {
  /** Lets the run under way end by itself; what all runs have printed. May be called again. */
  stop(): Promise<CommandResult>;
}

export interface ClientLoopOptions {
  /** Of the container. */
  name: string;
  /** Lab that the container ends with. */
  lab: string;
  image: string;
  /** Run again and again until it fails or is told to stop. */
  argv: readonly string[];
}

const limitMs = 400_000;

/**
 * Runs a benchmark again and again, so that one is always under way, whatever the machine's speed.
 * Its exit code is that of the first run that failed; there is no pause between two runs.
 */
export function startClientLoop({ name, lab, image, argv }: ClientLoopOptions): ClientLoop {
  const loop = 'until [ -e /tmp/stop ]; do "$@" || exit; done';
  const running = finish(
    [
      ...["docker", "run", "--rm", "--name", name, "--label", `ums.test=${lab}`],
      ...["--network", "host", "--user", "0", "--entrypoint", "sh", image],
      ...["-c", loop, "sh", ...argv],
    ],
    { timeoutMs: limitMs },
  );
  running.catch(() => {
    // Told by stop().
  });
  return {
    async stop() {
      await run(["docker", "exec", name, "touch", "/tmp/stop"]).catch(() => {
        // It has ended: because it failed, which its exit code says, or because of an earlier call.
      });
      return await running;
    },
  };
}
