import type { Readable } from "node:stream";
import type { Engine } from "../dockerd/engine.js";
import type { Logger } from "../lib/log.js";

export interface TerminalSize {
  rows: number;
  columns: number;
}

/** The outer container's own standard streams, which stand for the service's. */
export interface ServiceStdio {
  stdoutFd: number;
  stderrFd: number;
  /** Undefined when the outer container was started without stdin. */
  stdin: Readable | undefined;
  /** Undefined when there is no terminal. */
  terminal: ServiceTerminal | undefined;
}

export interface ServiceTerminal {
  size(): TerminalSize;
  onResize(listener: () => void): void;
}

/** Gives the service's terminal the size of the outer one, now and at every change (SIGWINCH). */
export function connectTerminal(
  stdio: ServiceStdio,
  engine: Engine,
  containerId: string,
  log: Logger,
): void {
  const { terminal } = stdio;
  if (terminal === undefined) return;
  const resize = () => {
    engine.resizeContainer(containerId, terminal.size()).catch((error: unknown) => {
      log.debug({ err: error }, "terminal not resized");
    });
  };
  resize();
  terminal.onResize(resize);
}
