/**
 * What the destination outer container is made of: the source's specification without what belongs
 * to the source's platform, with what belongs to this one. Pure.
 */
import type { Untranslatable } from "../../orchestrators/contract.js";
import type { WorkloadMount, WorkloadSpec } from "../../orchestrators/workload.js";
import type { OuterTls } from "../config.js";

export const tlsPath = "/etc/ums/tls";
export const statePath = "/var/lib/ums";
/** Each end has its own there. */
const platformPaths = [tlsPath, statePath, "/var/lib/docker"];
const platformVariables = [
  "UMS_START_MODE",
  "UMS_ALLOW_FROM",
  "UMS_COORDINATOR",
  "UMS_EVACUATE_TO",
];

export const migrationLabel = "ums.migration";
export const serviceLabel = "ums.service";

export interface ArrivalSpecOptions {
  migrationId: string;
  service: string;
  /** Name in the source's certificate. */
  sourcePeer: string;
  outerTls: OuterTls | undefined;
  /** Host directories that arriving services may mount. */
  allowedBinds: readonly string[];
}

export interface ArrivalSpec {
  spec: WorkloadSpec;
  /** Mounts that become something else here; none of them is refused, UMS brings the content. */
  reported: Untranslatable[];
}

export function arrivalSpec(source: WorkloadSpec, options: ArrivalSpecOptions): ArrivalSpec {
  const { migrationId, service, sourcePeer, outerTls } = options;
  const reported: Untranslatable[] = [];
  const kept = source.mounts.filter(({ target }) => !platformPaths.includes(trimSlash(target)));
  const mounts = kept.map((mount) => {
    const { mount: own, reason } = translateMount(mount, source.name, options);
    if (reason !== undefined) {
      reported.push({ setting: `mounts.${mount.target}`, effect: "reported", reason });
    }
    return own;
  });
  mounts.push(newVolume(`ums-${source.name}-state`, statePath, migrationId));
  if (outerTls !== undefined) {
    const { kind, source: from } = outerTls;
    mounts.push({ kind, source: from, target: tlsPath, isReadOnly: true });
  }
  const env = source.env.filter(({ name }) => !platformVariables.includes(name));
  if (sourcePeer !== "") env.push({ name: "UMS_ALLOW_FROM", value: sourcePeer });
  const labels = { ...source.labels, [migrationLabel]: migrationId, [serviceLabel]: service };
  return { spec: { ...source, mounts, env, labels }, reported };
}

function translateMount(
  mount: WorkloadMount,
  name: string,
  { migrationId, allowedBinds }: ArrivalSpecOptions,
): { mount: WorkloadMount; reason?: string } {
  const { kind, source, target } = mount;
  if (kind === "volume") {
    const own = { ...mount, ...newVolume(source || `ums-${name}`, target, migrationId) };
    return {
      mount: { ...own, isReadOnly: mount.isReadOnly },
      reason: `becomes the new volume ${own.source}; the migration brings its content`,
    };
  }
  if (kind !== "bind" || isBelow(source, allowedBinds)) return { mount };
  const slug = trimSlash(target).replace(/[^A-Za-z0-9_.-]+/g, "-");
  const own = newVolume(`ums-${name}${slug}`, target, migrationId);
  return {
    mount: { ...own, isReadOnly: mount.isReadOnly },
    reason: `the host directory ${source} is not mounted here; it becomes the new volume ${own.source}, and the migration brings its content`,
  };
}

/** New for each migration: a volume of the same name here may belong to another service. */
function newVolume(name: string, target: string, migrationId: string): WorkloadMount {
  const unique = `${name}-${migrationId.slice(0, 8)}`;
  return { kind: "volume", source: unique, target, isReadOnly: false };
}

/** `..` in a path leads out of any directory that allows it. */
function isBelow(path: string, allowed: readonly string[]): boolean {
  if (path.split("/").includes("..")) return false;
  return allowed.some((prefix) => {
    const base = trimSlash(prefix);
    return path === base || path.startsWith(`${base}/`);
  });
}

function trimSlash(path: string): string {
  return path.length > 1 ? path.replace(/\/+$/, "") : path;
}
