/** What is synchronized: one directory at the source and its counterpart at the destination. */
import type { Duplex } from "node:stream";

export interface FileTree {
  /** The same on both sides; names the stream. At most 255 characters. */
  name: string;
  /** Absolute path of the directory on this side. */
  path: string;
  /**
   * `rootfs`: an overlay2 upper directory of a container that is not mounted here (destination) or
   * is stopped, frozen or being watched by a live pass (source). `volume`: anything else.
   */
  kind: "rootfs" | "volume";
}

/**
 * `live`: the service runs, files may change or vanish while they are read; what it leaves wrong
 * the final pass repairs. `final`: the service is frozen and every difference counts.
 */
export type SyncPass = "live" | "final";

/** Opens a byte stream to the peer's {@link FileTree} receiver; half-close must work. */
export type OpenStream = (name: string) => Promise<Duplex>;

/** The stream's name for a tree, as given to {@link OpenStream}. */
export function treeStreamName(tree: Pick<FileTree, "name">): string {
  return `sync/${tree.name}`;
}
