/**
 * CRIU's page server: receives the pages of a dump and writes them as image files.
 *
 * It is one-shot, and is given its connection as an inherited socket (`--ps-socket`, man 8 criu),
 * so no port is opened. A Node pipe is a socketpair, which CRIU accepts (measured with 4.2.1).
 */
import type { ChildProcess } from "node:child_process";
import { join } from "node:path";
import type { Duplex } from "node:stream";
import { start } from "../lib/exec.js";
import { criuError } from "./explain.js";
import { pageServerLog } from "./files.js";

export interface PageServer {
  /** The page server's end of the conversation with a dumping CRIU. */
  readonly socket: Duplex;
  /**
   * Resolves when every page is on disk and the page server has ended well.
   * @throws ERR_CRIU_RESTORE_FAILED with the log's cause
   */
  finished(): Promise<void>;
  /** Ends it at once; what it wrote is incomplete. */
  kill(): void;
}

export function startPageServer(options: { imagesDir: string; workDir: string }): PageServer {
  const child = start(
    [
      "criu",
      "page-server",
      "--images-dir",
      options.imagesDir,
      "--work-dir",
      options.workDir,
      "--log-file",
      pageServerLog,
      "--ps-socket",
      "3",
    ],
    { stdio: ["ignore", "ignore", "ignore", "pipe"] },
  );
  const socket = child.stdio[3] as Duplex;
  const ended = waitExit(child).then(async (outcome) => {
    if (outcome === 0) return;
    const log = join(options.workDir, pageServerLog);
    throw await criuError("ERR_CRIU_RESTORE_FAILED", `the page server (${outcome})`, log);
  });
  // Whoever waits on finished() sees the rejection; without a waiter it must not end the process.
  ended.catch(() => undefined);
  return { socket, finished: () => ended, kill: () => void child.kill("SIGKILL") };
}

function waitExit(child: ChildProcess): Promise<number | string> {
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("exit", (code, signal) => resolve(code ?? signal ?? "unknown"));
  });
}
