/** runc, as dockerd's containers are known to it. */
import { join } from "node:path";
import { criuError } from "../criu/explain.js";
import { dumpLog } from "../criu/files.js";
import { run, toolEnvironment } from "../lib/exec.js";

/** Where dockerd's containerd keeps runc's state (`--root`), for every runtime name. */
const dockerRuncRoot = "/var/run/docker/runtime-runc/moby";

/**
 * Flags that must be the same at dump and restore.
 * `--tcp-established`: connections are part of the service; the hold keeps their packets away.
 * `--file-locks`: databases hold them.
 */
export const sharedCheckpointFlags = ["--tcp-established", "--file-locks"] as const;

export interface CheckpointOptions {
  containerId: string;
  /** Image files but for the pages are written here. */
  imagesDir: string;
  workDir: string;
  /** TCP port on loopback where somebody relays to a page server. */
  pageServerPort: number;
  timeoutMs: number;
}

/**
 * Dumps a frozen container and leaves it frozen (`--leave-running` on a frozen cgroup): rollback is
 * a thaw. CRIU's network lock is off (/etc/criu/runc.conf); the hold must be engaged before.
 *
 * Never cancelled: killing a CRIU in the middle of a dump is not safe, waiting and thawing is.
 * @throws ERR_CRIU_DUMP_FAILED with cause, hint and log
 */
export async function checkpoint(options: CheckpointOptions): Promise<void> {
  try {
    await run(
      [
        "runc",
        "--root",
        dockerRuncRoot,
        "checkpoint",
        "--image-path",
        options.imagesDir,
        "--work-path",
        options.workDir,
        "--leave-running",
        ...sharedCheckpointFlags,
        "--page-server",
        `127.0.0.1:${options.pageServerPort}`,
        options.containerId,
      ],
      {
        timeoutMs: options.timeoutMs,
        // For images/outer/criu-cork.c.
        env: { ...toolEnvironment, UMS_PAGE_SERVER_PORT: String(options.pageServerPort) },
      },
    );
  } catch (cause) {
    const log = join(options.workDir, dumpLog);
    throw await criuError("ERR_CRIU_DUMP_FAILED", "the dump", log, cause);
  }
}
