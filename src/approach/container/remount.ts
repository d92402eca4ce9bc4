import { readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { run, toolEnvironment } from "../../lib/exec.js";
import { unescapeMountField } from "../../nested/mountinfo.js";

/**
 * Mounts a container's overlay anew. The engine mounts it when it prepares the start, while the
 * final file pass still writes to the upper directory below; changes there are undefined behaviour
 * for a mounted overlay (kernel filesystems/overlayfs.rst, "Changes to underlying filesystems").
 * Nobody uses the mount before the restore.
 *
 * The kernel's newer calls take at most 255 bytes for one option (man 2 fsconfig), which five
 * layers exceed: mount(8) is told to use mount(2), whose options may fill a page. Paths relative to
 * the engine's directory make that enough for 128 layers, as the engine itself does it.
 */
export async function remountOverlay(upperDir: string): Promise<void> {
  const mountPoint = join(dirname(upperDir), "merged");
  const engineDir = dirname(dirname(upperDir));
  const mounts = (await readFile("/proc/self/mounts", "utf8")).split("\n");
  for (const line of mounts) {
    const [, mounted, type, options = ""] = line.split(" ").map(unescapeMountField);
    if (type !== "overlay" || mounted !== mountPoint) continue;
    const relative = options.replaceAll(`${engineDir}/`, "");
    await run(["umount", mountPoint]);
    await run(["mount", "-t", "overlay", "-o", relative, "overlay", mountPoint], {
      cwd: engineDir,
      env: { ...toolEnvironment, LIBMOUNT_FORCE_MOUNT2: "always" },
    });
  }
}
