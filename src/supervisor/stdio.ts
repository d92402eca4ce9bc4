import type { ServiceStdio } from "../nested/stdio.js";
import { enterRawMode } from "../terminal/raw-mode.js";

/**
 * The outer container's own stdin, stdout and stderr. A terminal is put into raw mode: the
 * service's own terminal does the echo, the editing and the signals of the keyboard.
 */
export async function openStdio(given: {
  isTty: boolean;
  hasStdin: boolean;
}): Promise<ServiceStdio> {
  const { stdin, stdout } = process;
  if (given.isTty) await enterRawMode(stdin);
  return {
    stdoutFd: 1,
    stderrFd: 2,
    stdin: given.hasStdin ? stdin : undefined,
    terminal: given.isTty
      ? {
          size: () => ({ rows: stdout.rows, columns: stdout.columns }),
          onResize: (listener) => void stdout.on("resize", listener),
        }
      : undefined,
  };
}
