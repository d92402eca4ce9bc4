import { readFile } from "node:fs/promises";
import { run } from "../../lib/exec.js";
import { unescapeMountField } from "../../nested/mountinfo.js";

/**
 * Mounts a container's overlay anew. The engine mounts it when it prepares the start, while the
 * final file pass still writes to the upper directory below; changes there are undefined behaviour
 * for a mounted overlay (kernel filesystems/overlayfs.rst, "Changes to underlying filesystems").
 * Nobody uses the mount before the restore.
 */
export async function remountOverlay(upperDir: string): Promise<void> {
  const mounts = (await readFile("/proc/self/mounts", "utf8")).split("\n");
  for (const line of mounts) {
    const [, mountPoint = "", type, options = ""] = line.split(" ").map(unescapeMountField);
    if (type !== "overlay" || !options.split(",").includes(`upperdir=${upperDir}`)) continue;
    await run(["umount", mountPoint]);
    await run(["mount", "-t", "overlay", "-o", options, "overlay", mountPoint]);
  }
}
