/** The pure half of surroundings.ts. */
import { matcherOf } from "../lib/patterns.js";
import type { Mount } from "../nested/mountinfo.js";
import type { MountSpec } from "../spec.js";

/** NUL separated `NAME=value`, as in /proc/PID/environ. */
export function parseVariables(environ: string): string[] {
  return environ.split("\0").filter((variable) => variable.indexOf("=") > 0);
}

/**
 * The service's share of the outer container's environment: not `UMS_*`, not what the outer image
 * sets itself (a variable with exactly its value), not what `filter` excludes.
 *
 * @param filter comma separated patterns, `*` for any characters, a leading `!` excludes; the last
 *   one that matches counts, e.g. `*,!SECRET_*`
 */
export function serviceEnvironment(
  environment: readonly string[],
  baseline: readonly string[],
  filter: string,
): string[] {
  const ownVariables = new Set(baseline);
  const isWanted = matcherOf(filter.split(","));
  return environment.filter((variable) => {
    const name = variable.slice(0, variable.indexOf("="));
    if (name.startsWith("UMS_") || ownVariables.has(variable)) return false;
    return isWanted(name);
  });
}

/**
 * What Docker and the outer image put into every environment. HOSTNAME, HOME and TERM are set
 * anew by the inner engine, for the service's own user and terminal.
 */
export function baselineEnvironment(hostname: string): string[] {
  return [
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME=/root",
    "TERM=xterm",
    `HOSTNAME=${hostname}`,
  ];
}

/** File systems that belong to the kernel or to the engine, never to the user. */
const systemTypes = new Set([
  "autofs",
  "binfmt_misc",
  "bpf",
  "cgroup",
  "cgroup2",
  "configfs",
  "debugfs",
  "devpts",
  "devtmpfs",
  "fusectl",
  "hugetlbfs",
  "mqueue",
  "nsfs",
  "proc",
  "pstore",
  "securityfs",
  "sysfs",
  "tracefs",
]);

/** Paths that engines and kubelets mount into every container, and the outer image's own. */
const systemPaths = [
  "/proc",
  "/sys",
  "/dev",
  "/run",
  "/etc/resolv.conf",
  "/etc/hosts",
  "/etc/hostname",
  "/etc/mtab",
  "/etc/criu",
  "/etc/ums",
  "/sbin/docker-init",
  "/usr/local/lib/ums",
  "/usr/local/bin/ums",
  "/lib/modules",
  "/usr/lib/modules",
  "/var/lib/docker",
  "/var/lib/containerd",
  "/var/lib/ums",
];

/** Secrets and configurations of Swarm, Podman and Kubernetes lie here, although /run is ours. */
const servicePathsInRun = "/run/secrets";
/** The kubelet mounts at /var/run, which is a link to /run in the outer image only. */
const serviceAccount = "/run/secrets/kubernetes.io";

/**
 * The mounts that the orchestrator gave for the service: every one but the system's and `own`.
 * Sorted, so that a mount comes before those below it.
 */
export function serviceMounts(mounts: readonly Mount[], own: readonly string[]): MountSpec[] {
  const excluded = [...systemPaths, ...own];
  const given = new Map<string, MountSpec>();
  for (const { mountPoint, fsType, readOnly } of mounts) {
    if (mountPoint === "/" || systemTypes.has(fsType)) continue;
    const isSecret = liesIn(mountPoint, servicePathsInRun) && mountPoint !== servicePathsInRun;
    if (!isSecret && excluded.some((path) => liesIn(mountPoint, path))) continue;
    const destination = liesIn(mountPoint, serviceAccount) ? `/var${mountPoint}` : mountPoint;
    given.set(destination, { destination, readOnly, origin: "outer" });
  }
  return [...given.values()].sort((a, b) => (a.destination < b.destination ? -1 : 1));
}

/** "Max open files" of /proc/PID/limits; undefined when it is unlimited or not there. */
export function parseOpenFilesLimit(limits: string): { soft: number; hard: number } | undefined {
  const [, soft, hard] = /^Max open files\s+(\d+)\s+(\d+)/m.exec(limits) ?? [];
  return soft === undefined || hard === undefined
    ? undefined
    : { soft: Number(soft), hard: Number(hard) };
}

function liesIn(path: string, directory: string): boolean {
  return path === directory || path.startsWith(`${directory}/`);
}
