/**
 * Files whose content can change without their mtime changing: those mapped shared and writable.
 * The kernel updates mtime when a clean page is written to, not at later writes to the same, still
 * dirty page (kernel mm/memory.c, `do_wp_page`), so a file can change after a live pass has read
 * it and look the same to the final one.
 */
import { readdir, readFile } from "node:fs/promises";
import { join, relative } from "node:path";
import { run } from "../lib/exec.js";
import type { FileTree } from "./tree.js";

/** A tree and where the nested container sees it. */
export interface MountedTree extends FileTree {
  /** Absolute path in the nested container; `/` for its root file system. */
  destination: string;
}

/**
 * Relative paths by tree name of all files that one of `pids` has mapped shared and writable.
 *
 * To be called before the first live pass and again under the freeze; the final pass needs the
 * union (`alwaysCompare`), because a mapping may be gone by the freeze. One made in between is
 * covered by the change of the inode that its first write causes (`changedSinceMs`). Names may not
 * exist in the tree (memory of /dev/shm, say); the final pass ignores those. A process that ends
 * meanwhile is skipped.
 *
 * A mapped file whose name was deleted while another hard link to it remains is found by its
 * inode, with one walk of the trees.
 */
export async function mappedFiles(
  pids: readonly number[],
  trees: readonly MountedTree[],
  signal?: AbortSignal,
): Promise<Map<string, string[]>> {
  const found = new Map(trees.map((tree) => [tree.name, new Set<string>()]));
  const deletedInodes = new Set<string>();
  for (const pid of pids) {
    for (const mapping of parseMaps(await readMaps(pid))) {
      if (mapping.isDeleted) deletedInodes.add(mapping.inode);
      const tree = innermostTree(trees, mapping.path);
      if (tree === undefined) continue;
      found.get(tree.name)?.add(relative(tree.destination, mapping.path));
    }
  }
  if (deletedInodes.size > 0) {
    for (const tree of trees) {
      for (const name of await linkedFiles(tree.path, deletedInodes, signal)) {
        found.get(tree.name)?.add(name);
      }
    }
  }
  return new Map([...found].map(([name, paths]) => [name, [...paths].sort()]));
}

/** Pids of a cgroup and the groups below it, from its `cgroup.procs` (kernel cgroup-v2.rst). */
export async function cgroupPids(cgroupPath: string): Promise<number[]> {
  const text = await readFile(join(cgroupPath, "cgroup.procs"), "utf8");
  const pids = text
    .split("\n")
    .filter((line) => line !== "")
    .map(Number);
  const entries = await readdir(cgroupPath, { withFileTypes: true });
  for (const entry of entries) {
    if (entry.isDirectory()) pids.push(...(await cgroupPids(join(cgroupPath, entry.name))));
  }
  return pids;
}

export interface SharedMapping {
  /** As the process sees it, without the kernel's ` (deleted)`. */
  path: string;
  inode: string;
  /** The name is gone, or ends in these very characters: both are to be expected. */
  isDeleted: boolean;
}

/** `start-end perms offset dev inode path` (man 5 proc, /proc/pid/maps). */
const mapsLine = /^[0-9a-f]+-[0-9a-f]+ .w.s [0-9a-f]+ [0-9a-f]+:[0-9a-f]+ (\d+) +(\/.*)$/;
const deletedSuffix = " (deleted)";

/** The shared writable mappings of files in a `/proc/PID/maps`. Pure. */
export function parseMaps(text: string): SharedMapping[] {
  const mappings: SharedMapping[] = [];
  for (const line of text.split("\n")) {
    const [, inode, escaped] = mapsLine.exec(line) ?? [];
    if (inode === undefined || escaped === undefined || inode === "0") continue;
    // The kernel escapes only the newline here (fs/proc/task_mmu.c, show_map_vma).
    const path = escaped.replaceAll("\\012", "\n");
    const isDeleted = path.endsWith(deletedSuffix);
    mappings.push({ path, inode, isDeleted });
    if (isDeleted) {
      mappings.push({ path: path.slice(0, -deletedSuffix.length), inode, isDeleted });
    }
  }
  return mappings;
}

async function readMaps(pid: number): Promise<string> {
  try {
    return await readFile(`/proc/${pid}/maps`, "utf8");
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    // The process has ended; its mappings ended with it.
    if (code === "ENOENT" || code === "ESRCH") return "";
    throw error;
  }
}

/** The tree whose mount point is the longest prefix of `path`. */
function innermostTree(trees: readonly MountedTree[], path: string): MountedTree | undefined {
  let best: MountedTree | undefined;
  for (const tree of trees) {
    const prefix = tree.destination.endsWith("/") ? tree.destination : `${tree.destination}/`;
    const isLonger = tree.destination.length > (best?.destination.length ?? 0);
    if (path.startsWith(prefix) && isLonger) best = tree;
  }
  return best;
}

async function linkedFiles(
  path: string,
  inodes: ReadonlySet<string>,
  signal?: AbortSignal,
): Promise<string[]> {
  const tests = [...inodes].flatMap((inode) => ["-o", "-inum", inode]).slice(1);
  const { stdout } = await run(
    ["find", path, "-type", "f", "(", ...tests, ")", "-printf", "%P\\0"],
    { timeoutMs: 120_000, ...(signal === undefined ? {} : { signal }) },
  );
  return stdout.split("\0").filter((name) => name !== "");
}
