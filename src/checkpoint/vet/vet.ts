/**
 * What stands between a received checkpoint and CRIU, which restores it as root: every rule of
 * docs/security-checkpoint.md. The files have been verified and nothing changes them any more.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { isPageFileName } from "../../criu/files.js";
import { type ReadableKind, readImage, readSingle } from "../../criu/images.js";
import type { Fields } from "../../criu/protobuf.js";
import { exists } from "../../lib/files.js";
import { entryRule, walkArchive } from "./archive.js";
import { checkConntrack } from "./conntrack.js";
import { checkFilters } from "./filters.js";
import type { Grants } from "./grants.js";
import { checkMounts, type StoredMount, storedMount } from "./mounts.js";
import { checkNames, numbersOf } from "./names.js";
import { checkInventory, checkNamespaces, checkNetwork, namespaceNumber } from "./namespaces.js";
import { checkGhostFile, checkOpenFile } from "./open-files.js";
import { checkThread, checkTree, storedFilters } from "./tasks.js";
import { unsafe } from "./unsafe.js";

export interface VetOptions {
  imagesDir: string;
  /** The files that were received, pages left out. */
  names: readonly string[];
  grants: Grants;
  /** For tests; default: whether the path is there. */
  isHere?: (path: string) => Promise<boolean>;
}

/** @throws ERR_CHECKPOINT_UNSAFE naming the first thing that exceeds what is granted */
export async function vetCheckpoint(options: VetOptions): Promise<void> {
  const { imagesDir, grants } = options;
  const names = options.names.filter((name) => !isPageFileName(name));
  checkNames(names);
  // Small files on tmpfs: a hop to another thread for each takes longer than the read, and the
  // service is frozen.
  const read = async (name: string) => readFileSync(join(imagesDir, name));
  const entries = async (kind: ReadableKind, name: string) => readImage(kind, await need(name));
  const single = async (kind: ReadableKind, name: string) => readSingle(kind, await need(name));
  const need = (name: string) => {
    if (!names.includes(name)) throw unsafe(`${name} is missing`);
    return read(name);
  };

  const root = checkInventory(await single("inventory", "inventory.img"), grants);
  const cores = numbersOf("core", names);
  const tree = checkTree(await entries("pstree", "pstree.img"), cores);
  const threads = new Map(
    await Promise.all(
      cores.map(async (id) => {
        const entry = await single("core", `core-${id}.img`);
        return [id, checkThread(id, entry, grants)] as const;
      }),
    ),
  );
  const first = await single("ids", "ids-1.img");
  for (const { pid } of tree) {
    const thread = threads.get(pid);
    if (thread?.ids !== undefined) checkNamespaces(pid, thread.ids, root, first, grants);
    if (thread?.isDead === true && !names.includes(`ids-${pid}.img`)) continue;
    const ids = pid === 1 ? first : await single("ids", `ids-${pid}.img`);
    checkNamespaces(pid, ids, root, first, grants);
  }
  if (grants.withheld !== undefined) {
    const filters = storedFilters(await single("seccomp", "seccomp.img"));
    checkFilters(filters, tree, threads, grants.withheld);
  }
  const mounts = await vetMounts(names, first, entries);
  await checkMounts(mounts, grants, options.isHere ?? exists);
  await vetNetwork(names, first, single, need);
  await vetFiles(names, entries, grants);
  await vetArchives(imagesDir, names, mounts, grants);
}

type ReadEntries = (kind: ReadableKind, name: string) => Promise<Fields[]>;
type ReadSingle = (kind: ReadableKind, name: string) => Promise<Fields>;

async function vetMounts(
  names: readonly string[],
  ids: Fields,
  entries: ReadEntries,
): Promise<StoredMount[]> {
  const number = onlyOne("mountpoints", names, namespaceNumber(ids, "mount"));
  return (await entries("mountpoints", `mountpoints-${number}.img`)).map(storedMount);
}

async function vetNetwork(
  names: readonly string[],
  ids: Fields,
  single: ReadSingle,
  read: (name: string) => Promise<Buffer>,
) {
  const number = onlyOne("netns", names, namespaceNumber(ids, "network"));
  checkNetwork(await single("netns", `netns-${number}.img`));
  for (const kind of ["netns-ct", "netns-exp"] as const) {
    for (const other of numbersOf(kind, names)) {
      checkConntrack(kind, await read(`${kind}-${other}.img`));
    }
  }
}

function onlyOne(kind: string, names: readonly string[], expected: number | undefined): number {
  const numbers = numbersOf(kind, names);
  if (expected === undefined || numbers.length !== 1 || numbers[0] !== expected) {
    throw unsafe(`it has not exactly one ${kind} image, that of process 1`);
  }
  return expected;
}

async function vetFiles(names: readonly string[], entries: ReadEntries, grants: Grants) {
  if (names.includes("files.img")) {
    for (const entry of await entries("files", "files.img")) checkOpenFile(entry, grants);
  }
  for (const name of names.filter((candidate) => candidate.startsWith("ghost-file-"))) {
    for (const entry of await entries("ghost-file", name)) checkGhostFile(name, entry);
  }
}

/** tmpfs-dev-N.tar.gz.img holds the tmpfs of device number N. Only /dev has devices. */
async function vetArchives(
  imagesDir: string,
  names: readonly string[],
  mounts: readonly StoredMount[],
  grants: Grants,
): Promise<void> {
  const archives = names.filter((name) => name.startsWith("tmpfs-dev-"));
  await Promise.all(
    archives.map(async (name) => {
      const device = Number(/^tmpfs-dev-(\d+)/.exec(name)?.[1]);
      const isDev = mounts.some((mount) => mount.device === device && mount.mountPoint === "/dev");
      await walkArchive(join(imagesDir, name), entryRule(isDev ? grants.devices : undefined));
    }),
  );
}
