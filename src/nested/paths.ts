import { readFile } from "node:fs/promises";
import type { ContainerInspection } from "../dockerd/engine.js";
import { UmsError } from "../errors.js";
import { type Mount, parseMountinfo } from "./mountinfo.js";

/** Where the parts of a nested container lie, as seen from the outer container. */
export interface NestedPaths {
  /** The root file system's changes: overlay2's upper directory. */
  upperDir: string;
  /** Bind mounts and volumes: their directory and where the service sees it. */
  mounts: { source: string; destination: string; readOnly: boolean }[];
  /** Process id of the service's first process; 0 while it does not run. */
  initPid: number;
  /** cgroup directories by controller (v1), or one under the key "" (v2). Empty when not running. */
  cgroups: Record<string, string>;
}

/**
 * Finds the paths of a nested container.
 * @throws ERR_RESOURCE_UNSUPPORTED when the storage driver has no upper directory
 */
export async function nestedPaths(inspection: ContainerInspection): Promise<NestedPaths> {
  const upperDir = (inspection.GraphDriver?.Data as Record<string, string> | null)?.["UpperDir"];
  if (upperDir === undefined) {
    throw new UmsError(
      "ERR_RESOURCE_UNSUPPORTED",
      `storage driver ${inspection.GraphDriver?.Name} keeps no separate changes`,
      { hint: "give the outer container a volume at /var/lib/docker, so that overlay2 works" },
    );
  }
  const initPid = inspection.State.Pid;
  return {
    upperDir,
    mounts: inspection.Mounts.map((mount) => ({
      source: mount.Source,
      destination: mount.Destination,
      readOnly: !mount.RW,
    })),
    initPid,
    cgroups: initPid === 0 ? {} : await readCgroups(initPid),
  };
}

async function readCgroups(pid: number): Promise<Record<string, string>> {
  const [cgroup, mountinfo] = await Promise.all([
    readFile(`/proc/${pid}/cgroup`, "utf8"),
    readFile("/proc/self/mountinfo", "utf8"),
  ]);
  return cgroupDirectories(cgroup, parseMountinfo(mountinfo));
}

/**
 * Directories of a process's cgroups from /proc/PID/cgroup. The paths there are those of the
 * host, while the cgroup file systems are mounted here from the outer container's own directory
 * (mountinfo's root field): that part is taken off. Measured with Docker 20.10 on cgroup v1.
 */
export function cgroupDirectories(cgroup: string, mounts: Mount[]): Record<string, string> {
  const directories: Record<string, string> = {};
  for (const line of cgroup.trim().split("\n")) {
    const [, controllers = "", path = ""] = /^\d+:([^:]*):(.*)$/.exec(line) ?? [];
    for (const controller of controllers.split(",")) {
      const mount = mounts.findLast((candidate) => holds(candidate, controller));
      const below = mount === undefined ? undefined : relativeTo(mount.root, path);
      if (mount !== undefined && below !== undefined) {
        directories[controller] = `${mount.mountPoint}${below}`;
      }
    }
  }
  return directories;
}

function holds(mount: Mount, controller: string): boolean {
  return controller === ""
    ? mount.fsType === "cgroup2"
    : mount.fsType === "cgroup" && mount.superOptions.includes(controller);
}

/** `/docker/a/b` below `/docker/a` is `/b`; undefined when it does not lie below. */
function relativeTo(root: string, path: string): string | undefined {
  if (root === "/") return path;
  return path === root || path.startsWith(`${root}/`) ? path.slice(root.length) : undefined;
}
