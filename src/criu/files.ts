/** Names CRIU and runc give to the files of a checkpoint (criu/include/image.h, runc's criu code). */

/** Log of a dump and of a restore, in the work directory. */
export const dumpLog = "dump.log";
export const restoreLog = "restore.log";
export const pageServerLog = "page-server.log";

/**
 * Work directories, where CRIU logs, lie on a tmpfs of 64 MiB that ums-init mounts there: a log
 * without end (CRIU does not mind that it cannot write it) takes memory from nobody else.
 */
export const criuWorkRoot = "/run/ums/criu";

/** Written by a page server, so present only where pages are received. */
const pageFile = /^(pages-\d+|pagemap-(shmem-)?\d+)\.img$/;

/**
 * Every name that a checkpoint's images directory may hold: CRIU's `*.img`, runc's
 * `descriptors.json`, and nothing else. No path separators, no leading dot.
 */
const imageFile = /^([a-z0-9][a-zA-Z0-9_.-]{0,120}\.img|descriptors\.json)$/;

export function isImageFileName(name: string): boolean {
  return imageFile.test(name) && !name.includes("..");
}

export function isPageFileName(name: string): boolean {
  return pageFile.test(name);
}

/** CRIU's own statistics; useful in the work directory, not part of a checkpoint. */
export function isStatisticsFileName(name: string): boolean {
  return /^stats-(dump|restore)(\.img)?$/.test(name);
}
