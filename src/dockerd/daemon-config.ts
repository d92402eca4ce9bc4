import { existsSync } from "node:fs";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { join } from "node:path";
import { UmsError } from "../errors.js";
import { run } from "../lib/exec.js";

/** The OCI runtime hook: runc, but `create` restores when a restore is pending. */
export const hookRuntime = "ums";

export interface DaemonConfigInput {
  storageDriver: string;
  dataRoot: string;
  socketPath: string;
  /** Path of the runtime hook; undefined where it is not installed. */
  hookPath: string | undefined;
  registryMirror: string | undefined;
}

/**
 * daemon.json of the inner engine.
 *
 * - A unix socket only: a TCP port would give the machine to whoever reaches it.
 * - `live-restore`: containers outlive a crash of dockerd.
 * - No default bridge: its 172.17.0.0/16 could be the outer container's own network.
 * - The `local` log driver keeps bytes as they are (json-file replaces what is not UTF-8) and is
 *   bounded: {@link logFileCount} files of {@link logFileBytes}.
 */
export function daemonConfig(input: DaemonConfigInput): Record<string, unknown> {
  return {
    hosts: [`unix://${input.socketPath}`],
    "data-root": input.dataRoot,
    "storage-driver": input.storageDriver,
    "live-restore": true,
    experimental: true,
    bridge: "none",
    "userland-proxy": false,
    "log-level": "warn",
    "log-driver": "local",
    "log-opts": {
      "max-size": `${logFileBytes / 1024 / 1024}m`,
      "max-file": String(logFileCount),
      compress: "false",
    },
    ...(input.hookPath === undefined
      ? {}
      : { runtimes: { [hookRuntime]: { path: input.hookPath } } }),
    ...(input.registryMirror === undefined ? {} : { "registry-mirrors": [input.registryMirror] }),
  };
}

/** Bytes of one log file of the nested service. */
export const logFileBytes = 16 * 1024 * 1024;
/** Log files of the nested service, the current one included. */
export const logFileCount = 4;

/**
 * The best storage driver that works on `dataRoot`, found by mounting: overlay on overlay is
 * refused by the kernel, and so is overlay on some network file systems. Migration of root file
 * systems needs overlay2.
 */
export async function probeStorageDriver(dataRoot: string): Promise<string> {
  await mkdir(dataRoot, { recursive: true, mode: 0o710 });
  if (await canMountOverlay(dataRoot)) return "overlay2";
  return existsSync("/usr/bin/fuse-overlayfs") && existsSync("/dev/fuse")
    ? "fuse-overlayfs"
    : "vfs";
}

async function canMountOverlay(dataRoot: string): Promise<boolean> {
  const directory = await mkdtemp(join(dataRoot, ".probe-"));
  const [lower, upper, work, merged] = ["lower", "upper", "work", "merged"].map((name) =>
    join(directory, name),
  ) as [string, string, string, string];
  try {
    for (const path of [lower, upper, work, merged]) await mkdir(path);
    const options = `lowerdir=${lower},upperdir=${upper},workdir=${work}`;
    await run(["mount", "-t", "overlay", "overlay", "-o", options, merged], { timeoutMs: 5_000 });
    await run(["umount", merged], { timeoutMs: 5_000 });
    return true;
  } catch (error) {
    // Any refusal by mount(8) is the answer "no"; anything else is a failure of the probe.
    if (UmsError.from(error).code === "ERR_COMMAND_FAILED") return false;
    throw error;
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}
