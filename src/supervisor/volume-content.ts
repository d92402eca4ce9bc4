/**
 * What an engine does for a new volume of an ordinary container: it takes the files, owner and mode
 * that the image has at its path. Of the outer container's volumes the engine knows only the outer
 * image, which has nothing there, so a service that is not root could not write to its own volume.
 */
import { readdir, readFile } from "node:fs/promises";
import { dirname } from "node:path";
import type { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import type { Engine } from "../dockerd/engine.js";
import { UmsError } from "../errors.js";
import { within } from "../lib/deadline.js";
import { deferred } from "../lib/deferred.js";
import { start } from "../lib/exec.js";
import type { Logger } from "../lib/log.js";
import { parseMountinfo } from "../nested/mountinfo.js";
import type { MountSpec } from "../spec.js";

/** Images hold some MiB at a volume's path, seldom more. */
const copyTimeoutMs = 600_000;
/**
 * Directory of a volume under Docker's and Podman's data root. A bind mount comes as it is, as with
 * an ordinary container.
 */
const volumeRoot = /\/volumes\/[^/]+\/_data$/;

export interface FillOptions {
  engine: Engine;
  /** Of the nested image. */
  imageId: string;
  /** The service's mounts. */
  mounts: readonly MountSpec[];
  log: Logger;
}

/**
 * Fills the volumes among `mounts` that are empty from the nested image.
 * @throws the engine's errors; ERR_COMMAND_FAILED when the files cannot be written
 */
export async function fillNewVolumes(options: FillOptions): Promise<void> {
  const { engine, imageId, mounts, log } = options;
  const volumes = await emptyVolumes(mounts);
  if (volumes.length === 0) return;
  const containerId = await engine.createContainer({ Image: imageId, Cmd: ["never-started"] });
  try {
    for (const path of volumes) {
      const archive = await engine.getArchive(containerId, path);
      if (archive === undefined) continue;
      await unpack(archive, dirname(path));
      log.info({ path }, "new volume filled from the nested image");
    }
  } finally {
    await engine.removeContainer(containerId);
  }
}

async function emptyVolumes(mounts: readonly MountSpec[]): Promise<string[]> {
  const mounted = parseMountinfo(await readFile("/proc/self/mountinfo", "utf8"));
  const paths = mounts
    .filter(({ origin, readOnly }) => origin === "outer" && !readOnly)
    .map(({ destination }) => destination)
    .filter((path) => {
      const mount = mounted.findLast(({ mountPoint }) => mountPoint === path);
      return mount !== undefined && volumeRoot.test(mount.root);
    });
  const isEmpty = await Promise.all(paths.map(async (path) => (await readdir(path)).length === 0));
  return paths.filter((_, index) => isEmpty[index]);
}

/** The archive's first entry is the directory itself: tar gives the volume its owner and mode. */
async function unpack(archive: Readable, parent: string): Promise<void> {
  const argv = ["tar", "-C", parent, "-x", "-p", "--same-owner", "--numeric-owner", "--xattrs"];
  const tar = start(argv, { stdio: ["pipe", "ignore", "inherit"] });
  if (tar.stdin === null) throw new TypeError("stdin is a pipe");
  const ended = deferred<number | null>();
  tar.once("error", (error) => ended.reject(error));
  tar.once("exit", (exitCode) => ended.resolve(exitCode));
  const copying = pipeline(archive, tar.stdin);
  const [, exitCode] = await within(
    copyTimeoutMs,
    `filling ${parent}`,
    Promise.all([copying, ended.promise]),
  ).catch((error) => {
    tar.kill("SIGKILL");
    throw error;
  });
  if (exitCode !== 0) {
    throw new UmsError("ERR_COMMAND_FAILED", `tar failed (${exitCode})`, { details: { argv } });
  }
}
