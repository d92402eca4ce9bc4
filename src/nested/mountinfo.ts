/** One line of /proc/PID/mountinfo (man 5 proc). */
export interface Mount {
  /** Path inside the file system that is mounted: not `/` for a bind mount or a cgroup. */
  root: string;
  mountPoint: string;
  readOnly: boolean;
  fsType: string;
  source: string;
  superOptions: string[];
}

/** Parses /proc/PID/mountinfo; later lines lie over earlier ones at the same mount point. */
export function parseMountinfo(text: string): Mount[] {
  return text.split("\n").flatMap((line) => {
    const [before = "", after] = line.split(" - ");
    if (after === undefined) return [];
    const [, , , root, mountPoint, options] = before.split(" ");
    const [fsType, source, superOptions] = after.split(" ");
    if (root === undefined || mountPoint === undefined || fsType === undefined) return [];
    return [
      {
        root: unescapeMountField(root),
        mountPoint: unescapeMountField(mountPoint),
        readOnly: (options ?? "").split(",").includes("ro"),
        fsType,
        source: unescapeMountField(source ?? ""),
        superOptions: (superOptions ?? "").split(","),
      },
    ];
  });
}

/** Space, tab, newline and backslash are written as octal escapes. */
export function unescapeMountField(path: string): string {
  return path.replace(/\\([0-7]{3})/g, (_, octal: string) =>
    String.fromCharCode(Number.parseInt(octal, 8)),
  );
}
