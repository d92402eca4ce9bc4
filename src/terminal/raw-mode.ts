import { once } from "node:events";
import { start } from "../lib/exec.js";

/**
 * Makes our own terminal a plain pipe of bytes, as another terminal behind it does all the rest:
 * echo, line editing, keyboard signals. Node's raw mode leaves output processing on (libuv,
 * UV_TTY_MODE_RAW keeps ONLCR), which would turn each line's CR LF into CR CR LF; stty(1)
 * switches that off.
 *
 * @returns what brings the terminal back
 */
export async function enterRawMode(stdin: NodeJS.ReadStream): Promise<() => Promise<void>> {
  stdin.setRawMode(true);
  await stty("-opost");
  return async () => {
    stdin.setRawMode(false);
    await stty("opost");
  };
}

/** Works on the terminal that is our stdin. A failure leaves a terminal that still works. */
async function stty(setting: string): Promise<void> {
  const child = start(["stty", setting], { stdio: ["inherit", "ignore", "ignore"] });
  await Promise.race([once(child, "exit"), once(child, "error")]);
}
