/**
 * The one place that spells rsync's command line and daemon configuration. Pure.
 * Options are those of rsync 3.2.7 to 3.5 (man 1 rsync, man 5 rsyncd.conf).
 */
import type { FileTree } from "./tree.js";

/** The daemon's only module, and the only user that may write to it. */
export const rsyncModule = "tree";
export const rsyncUser = "ums";

export interface SenderOptions {
  tree: FileTree;
  /** Loopback port of the relay. */
  port: number;
  mode: SenderMode;
  /** Paths relative to the tree that are neither sent nor deleted. */
  excludes: readonly string[];
  /** rsync's own limit on silence, a backstop behind the caller's deadline. */
  timeoutSeconds: number;
}

/**
 * `mirror`: make the destination equal. `mirror-in-place`: the same, changed blocks written into
 * the existing file; only where the destination has no hard links, because rsync would write
 * through a link the source has meanwhile broken (man rsync, --inplace). `compare`: make the
 * content of the listed files equal whatever their size and mtime say; runs after a mirror, when
 * links are the same on both sides, so writing in place is right for linked files too.
 */
export type SenderMode = "mirror" | "mirror-in-place" | "compare";

/**
 * Extended attributes that are not copied. `system.*` are ACLs, which `--acls` carries. The others
 * describe the source's own file system (file handles and an id, kernel
 * Documentation/filesystems/overlayfs.rst, "Inode properties" and "Sharing and copying layers").
 * Naming any replaces rsync's default rule, hence `system.*`.
 */
const excludedXattrs = [
  "system.*",
  "trusted.overlay.origin",
  "trusted.overlay.upper",
  "trusted.overlay.nlink",
  "trusted.overlay.uuid",
];

/**
 * The sender's argv. The file list is read from stdin, NUL-separated, so that the process can be
 * started, connected and authenticated before the freeze and does not walk the tree until told to.
 */
export function senderArgv(options: SenderOptions): string[] {
  const { tree, mode } = options;
  return [
    "rsync",
    "--links",
    "--perms",
    "--times",
    "--group",
    "--owner",
    "--devices",
    "--specials",
    "--acls",
    "--xattrs",
    "--sparse",
    "--numeric-ids",
    // Nanoseconds: a file rewritten within the second of the live pass is seen.
    "--modify-window=-1",
    "--files-from=-",
    "--from0",
    // With a file list, rsync implies --relative, and recursion must be asked for.
    ...(mode === "compare"
      ? ["--ignore-times", "--inplace"]
      : ["--recursive", "--delete", "--hard-links"]),
    ...(mode === "mirror-in-place" ? ["--inplace"] : []),
    ...excludedXattrs.map((name) => `--filter=-x ${name}`),
    ...options.excludes.map((path) => `--exclude=${anchoredPattern(path)}`),
    `--timeout=${options.timeoutSeconds}`,
    "--contimeout=10",
    // Without it every small write may wait 40 ms for the relay's delayed ACK (measured).
    "--sockopts=TCP_NODELAY",
    // The daemon's errors come back through the stream; it has no stderr of its own.
    "--stderr=client",
    // One line a transferred file: what was compared by content already.
    "--out-format=%n",
    `${tree.path}/`,
    `rsync://${rsyncUser}@127.0.0.1:${options.port}/${rsyncModule}/`,
  ];
}

/**
 * An rsync pattern that matches exactly this path of the tree. rsync reads a backslash as an
 * escape only in patterns that hold a wildcard (man rsync, "Pattern matching rules").
 */
export function anchoredPattern(path: string): string {
  const trimmed = path.replace(/^\/+|\/+$/g, "");
  const isLiteral = !/[*?[]/.test(trimmed);
  return `/${isLiteral ? trimmed : trimmed.replace(/[*?[\]\\]/g, "\\$&")}`;
}

export interface DaemonOptions {
  /** Directory that becomes the daemon's root; must need no escaping (no newline, no `%`). */
  path: string;
  secretsPath: string;
  logPath: string;
  timeoutSeconds: number;
}

/** What a sender may ask of the daemon; all else is refused, before anything is touched. */
const allowedOptions = [
  ..."rlptgoDHAXSI",
  "recursive",
  "links",
  "perms",
  "times",
  "group",
  "owner",
  "devices",
  "specials",
  "hard-links",
  "acls",
  "xattrs",
  "sparse",
  "numeric-ids",
  "modify-window",
  "files-from",
  "from0",
  "relative",
  "dirs",
  "delete",
  "delete-during",
  "ignore-times",
  "inplace",
  "partial",
  "timeout",
  "out-format",
  "stderr",
  "msgs2stderr",
  "no-msgs2stderr",
  "log-format",
];

/**
 * rsyncd.conf for one tree and one connection. The daemon changes its root to the tree before it
 * reads a file name, so neither `..` nor an absolute symbolic link leads outside; it only
 * receives, and only from who knows the secret.
 */
export function daemonConfig(options: DaemonOptions): string {
  const lines = [
    "use chroot = yes",
    "uid = 0",
    "gid = 0",
    "numeric ids = yes",
    "munge symlinks = no",
    "reverse lookup = no",
    "forward lookup = no",
    "strict modes = yes",
    `log file = ${options.logPath}`,
    `timeout = ${options.timeoutSeconds}`,
    `[${rsyncModule}]`,
    `path = ${options.path}`,
    "list = no",
    "read only = no",
    "write only = yes",
    `auth users = ${rsyncUser}`,
    `secrets file = ${options.secretsPath}`,
    `refuse options = * ${allowedOptions.map((name) => `!${name}`).join(" ")}`,
  ];
  return `${lines.join("\n")}\n`;
}
