/** The directories that move with a nested container. */
import { stat } from "node:fs/promises";
import { UmsError } from "../../errors.js";
import type { NestedPaths } from "../../nested/paths.js";
import type { MountSpec } from "../../spec.js";
import type { FileTree } from "../../sync/tree.js";

/**
 * Root-file-system changes and every mount of the spec, as they lie on this side. The name is the
 * same on both sides.
 * @throws ERR_RESOURCE_UNSUPPORTED for a mount that is no directory
 */
export async function fileTrees(
  paths: NestedPaths,
  mounts: readonly MountSpec[],
  keptMounts: readonly string[] = [],
): Promise<FileTree[]> {
  const trees: FileTree[] = [{ name: "rootfs", path: paths.upperDir, kind: "rootfs" }];
  for (const { destination } of mounts) {
    if (keptMounts.includes(destination)) continue;
    const source = paths.mounts.find((mount) => mount.destination === destination)?.source;
    if (source === undefined) {
      throw new UmsError("ERR_INTERNAL", `mount ${destination} is missing in the container`);
    }
    if (!(await stat(source)).isDirectory()) {
      throw new UmsError("ERR_RESOURCE_UNSUPPORTED", `mount ${destination} is a single file`, {
        hint: "mount its directory instead, or give the destination the same file read-only",
      });
    }
    trees.push({ name: `volume:${destination}`, path: source, kind: "volume" });
  }
  return trees;
}
