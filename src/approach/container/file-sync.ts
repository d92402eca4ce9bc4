/** The files of a nested container: live passes while it runs, one final pass under the freeze. */
import { type MountedTree, mappedFiles } from "../../sync/mapped-files.js";
import {
  type PreparedSync,
  prepareSync,
  type SyncOptions,
  syncTree,
} from "../../sync/rsync-sender.js";
import type { FileTree } from "../../sync/tree.js";
import type { SourceSession } from "../contract.js";

export interface FileSync {
  /** Passes until the last one had little to do. */
  live(): Promise<void>;
  /** Starts what the final pass needs, so that the freeze does not wait for it. */
  prepareFinal(): Promise<void>;
  /** The service is frozen: afterwards every tree is equal. */
  final(): Promise<void>;
  close(): Promise<void>;
}

const livePasses = 3;
/** A live pass that sent less than this is followed by the final one. */
const convergedBytes = 4 * 1024 * 1024;
const livePassTimeoutMs = 6 * 3_600_000;
const finalPassTimeoutMs = 10 * 60_000;

/** @param pids the service's processes, asked anew at each pass */
export function createFileSync(
  trees: readonly FileTree[],
  session: SourceSession,
  pids: () => Promise<number[]>,
): FileSync {
  const mounted: MountedTree[] = trees.map((tree) => ({
    ...tree,
    destination: tree.kind === "rootfs" ? "/" : tree.name.replace(/^volume:/, ""),
  }));
  const prepared = new Map<string, PreparedSync>();
  const mappedBefore = new Map<string, string[]>();
  let firstPassStartedMs: number | undefined;

  const options = (tree: FileTree, pass: SyncOptions["pass"], timeoutMs: number): SyncOptions => ({
    pass,
    timeoutMs,
    signal: session.signal,
    excludes: mountedInside(tree.name, mounted),
  });
  const openTree = (name: string) => session.openStream("sync", name);

  async function livePass(): Promise<number> {
    let sentBytes = 0;
    for (const tree of trees) {
      const result = await syncTree(tree, openTree, options(tree, "live", livePassTimeoutMs));
      session.onBytes(result.bytesSent);
      sentBytes += result.bytesSent;
      firstPassStartedMs ??= result.startedAtMs;
    }
    return sentBytes;
  }

  async function finalPass(tree: FileTree, mapped: ReadonlyMap<string, string[]>): Promise<void> {
    const sync = prepared.get(tree.name);
    if (sync === undefined) throw new TypeError("final pass before its preparation");
    const result = await sync.run({
      alwaysCompare: [...(mappedBefore.get(tree.name) ?? []), ...(mapped.get(tree.name) ?? [])],
      ...(firstPassStartedMs === undefined ? {} : { changedSinceMs: firstPassStartedMs }),
    });
    session.onBytes(result.bytesSent);
  }

  return {
    async live() {
      for (const [name, paths] of await mappedFiles(await pids(), mounted, session.signal)) {
        mappedBefore.set(name, paths);
      }
      for (let pass = 0; pass < livePasses; pass += 1) {
        if ((await livePass()) < convergedBytes) return;
      }
    },
    async prepareFinal() {
      await Promise.all(
        trees.map(async (tree) => {
          const sync = await prepareSync(
            tree,
            openTree,
            options(tree, "final", finalPassTimeoutMs),
          );
          prepared.set(tree.name, sync);
        }),
      );
    },
    async final() {
      const mapped = await mappedFiles(await pids(), mounted, session.signal);
      await Promise.all(trees.map((tree) => finalPass(tree, mapped)));
    },
    async close() {
      await Promise.all([...prepared.values()].map((sync) => sync.close()));
      prepared.clear();
    },
  };
}

/** Mount points of other volumes inside a volume, relative to it: each tree is carried once. */
export function mountedInside(name: string, trees: readonly MountedTree[]): string[] {
  const own = trees.find((tree) => tree.name === name);
  if (own === undefined || own.kind === "rootfs") return [];
  const prefix = `${own.destination.replace(/\/+$/, "")}/`;
  return trees
    .map(({ destination }) => destination)
    .filter((destination) => destination.startsWith(prefix))
    .map((destination) => destination.slice(prefix.length));
}
