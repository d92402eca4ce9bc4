/**
 * Mounts: CRIU makes what mountpoints-*.img says, as root, from outside of the container (so did
 * CVE-2024-8676 and its relatives). Each must be one of the container's own, as read-only as there,
 * and none of those that hide something may be missing.
 */
import { type Fields, numberIn, textIn } from "../../criu/protobuf.js";
import type { OciMount } from "../../oci/bundle.js";
import type { Grants } from "./grants.js";
import { unsafe } from "./unsafe.js";

export interface StoredMount {
  fsType: number;
  device: number;
  flags: number;
  root: string;
  mountPoint: string;
  options: string;
  externalKey: string | undefined;
  /** Mount id of what it is mounted on. */
  parent: number;
  id: number;
}

/** Of mnt_entry and fstype, images/mnt.proto. */
const field = {
  ...{ fsType: 1, id: 2, device: 3, parent: 4, flags: 5, root: 6, mountPoint: 7, options: 9 },
  ...{ plugin: 12, fsName: 14, deleted: 16, externalKey: 18 },
};
const fsTypes: Record<string, number> = {
  proc: 1,
  sysfs: 2,
  tmpfs: 5,
  devpts: 6,
  cgroup: 12,
  mqueue: 14,
  cgroup2: 23,
};
const overlayFs = 17;
const fs = (name: string) => fsTypes[name] ?? -1;

/** MS_* of linux/mount.h, by the options of an OCI mount. */
const flagOf: Record<string, number> = { ro: 1, rro: 1, nosuid: 2, nodev: 4, noexec: 8 };
const readOnlyFlag = 1;
/** What runc binds over masked files. */
const maskKey = "/dev/null";
const consolePath = "/dev/console";

export function storedMount(entry: Fields): StoredMount {
  if (entry.has(field.plugin) || entry.has(field.fsName) || entry.has(field.deleted)) {
    throw unsafe("a mount needs a plugin, another file system or a deleted directory");
  }
  const need = <T>(value: T | undefined): T => {
    if (value === undefined) throw unsafe("a mount is malformed");
    return value;
  };
  return {
    fsType: need(numberIn(entry, field.fsType)),
    device: need(numberIn(entry, field.device)),
    flags: need(numberIn(entry, field.flags)),
    root: need(textIn(entry, field.root)),
    mountPoint: need(textIn(entry, field.mountPoint)),
    options: textIn(entry, field.options) ?? "",
    externalKey: textIn(entry, field.externalKey),
    id: need(numberIn(entry, field.id)),
    parent: need(numberIn(entry, field.parent)),
  };
}

/**
 * @param isHere whether a path below /proc or /sys is there on this machine, and so must be hidden
 * @throws ERR_CHECKPOINT_UNSAFE naming the mount
 */
export async function checkMounts(
  mounts: readonly StoredMount[],
  grants: Grants,
  isHere: (path: string) => Promise<boolean>,
): Promise<void> {
  const byPath = new Map<string, StoredMount>();
  for (const mount of mounts) {
    if (byPath.has(mount.mountPoint)) {
      throw unsafe(`two mounts are at ${mount.mountPoint}`, { mountPoint: mount.mountPoint });
    }
    byPath.set(mount.mountPoint, mount);
  }
  for (const mount of mounts) {
    const reason = faultOf(mount, grants, byPath);
    if (reason !== undefined) {
      throw unsafe(`a mount is not the container's own, at ${mount.mountPoint}: ${reason}`, {
        ...mount,
      });
    }
  }
  for (const path of [...grants.maskedPaths, ...grants.readonlyPaths]) {
    if (!byPath.has(path) && (await isHere(path))) {
      throw unsafe(`${path} is hidden or read-only here, and would not be`, { mountPoint: path });
    }
  }
  const missing = grants.mounts.find(({ destination }) => !byPath.has(destination));
  if (missing !== undefined) throw unsafe(`the mount at ${missing.destination} is missing`);
}

/** Why a mount may not be; undefined when it may. */
function faultOf(
  mount: StoredMount,
  grants: Grants,
  byPath: ReadonlyMap<string, StoredMount>,
): string | undefined {
  const { mountPoint } = mount;
  if (mountPoint === "/") return rootFault(mount, grants);
  const own = grants.mounts.find(({ destination }) => destination === mountPoint);
  if (own !== undefined) return ownFault(mount, own);
  if (grants.maskedPaths.includes(mountPoint)) return maskFault(mount);
  if (grants.readonlyPaths.includes(mountPoint)) {
    return readOnlyFault(mount, byPath.get("/proc"));
  }
  const hierarchies = grants.mounts.find(({ type }) => type === "cgroup");
  if (hierarchies !== undefined && isDirectlyBelow(mountPoint, hierarchies.destination)) {
    return hierarchyFault(mount, hierarchies);
  }
  if (grants.isTty && mountPoint === consolePath) return consoleFault(mount);
  return "there is none in its configuration";
}

function rootFault(mount: StoredMount, { readOnlyRootfs }: Grants): string | undefined {
  if (mount.fsType !== overlayFs || mount.root !== "/") return "it is no overlay";
  if (mount.externalKey !== undefined) return "it is external";
  return readOnlyRootfs && (mount.flags & readOnlyFlag) === 0 ? "it is writable" : undefined;
}

function ownFault(mount: StoredMount, own: OciMount): string | undefined {
  const options = own.options ?? [];
  if (own.type === "bind" || options.includes("bind") || options.includes("rbind")) {
    if (mount.externalKey !== mount.mountPoint) return "it is not the one from outside";
    return flagsFault(mount, options);
  }
  if (own.type === "cgroup") return cgroupFault(mount, options);
  if (mount.externalKey !== undefined) return "it comes from outside";
  if (mount.root !== "/" || mount.fsType !== fs(own.type ?? ""))
    return "its file system is another";
  if (own.type === "tmpfs") {
    const isLimited = options.some((option) => option.startsWith("size="));
    const isWithin = sizeBytes(mount.options.split(",")) <= sizeBytes(options);
    if (isLimited && !isWithin) return "it is larger";
  }
  return flagsFault(mount, options);
}

/** cgroup v1: a tmpfs with a directory a hierarchy; v2: the one hierarchy itself. */
function cgroupFault(mount: StoredMount, options: readonly string[]): string | undefined {
  const isV1 = mount.fsType === fs("tmpfs") && mount.externalKey === undefined;
  const isV2 = mount.fsType === fs("cgroup2") && mount.externalKey === mount.mountPoint;
  if (!isV1 && !isV2) return "its file system is another";
  // runc leaves the tmpfs of v1 writable while it mounts into it and CRIU restores it like that.
  const demanded = isV1 ? options.filter((option) => option !== "ro") : options;
  return flagsFault(mount, demanded);
}

function hierarchyFault(mount: StoredMount, parent: OciMount): string | undefined {
  if (mount.fsType !== fs("cgroup")) return "its file system is another";
  if (mount.externalKey !== mount.mountPoint) return "it is not the one from outside";
  return flagsFault(mount, parent.options ?? []);
}

function maskFault(mount: StoredMount): string | undefined {
  if (mount.fsType !== fs("tmpfs")) return "it hides nothing";
  if (mount.externalKey === maskKey) return undefined;
  if (mount.externalKey !== undefined || mount.root !== "/") return "it hides nothing";
  return (mount.flags & readOnlyFlag) === 0 ? "it is writable" : undefined;
}

/** A part of /proc, bound onto itself. */
function readOnlyFault(mount: StoredMount, proc: StoredMount | undefined): string | undefined {
  const isSame = mount.fsType === fs("proc") && mount.device === proc?.device;
  if (!isSame || `/proc${mount.root}` !== mount.mountPoint) return "it is another part of /proc";
  if (mount.externalKey !== undefined) return "it comes from outside";
  return (mount.flags & readOnlyFlag) === 0 ? "it is writable" : undefined;
}

/** runc binds the terminal there; CRIU takes it from the service's own devpts. */
function consoleFault(mount: StoredMount): string | undefined {
  return mount.fsType === fs("devpts") ? undefined : "it is no terminal";
}

function flagsFault(mount: StoredMount, options: readonly string[]): string | undefined {
  const lacking = options.filter((option) => {
    const flag = flagOf[option];
    return flag !== undefined && (mount.flags & flag) === 0;
  });
  return lacking.length === 0 ? undefined : `it is not ${lacking.join(", ")}`;
}

function isDirectlyBelow(path: string, parent: string): boolean {
  return path.startsWith(`${parent}/`) && !path.slice(parent.length + 1).includes("/");
}

/** `size=` of a tmpfs; NaN, which is less than nothing, when it has none that is known. */
function sizeBytes(options: readonly string[]): number {
  const value = options.find((option) => option.startsWith("size="))?.slice("size=".length);
  const match = /^(\d+)([kmg]?)$/i.exec(value ?? "");
  if (match === null) return Number.NaN;
  const exponent = ["", "k", "m", "g"].indexOf((match[2] ?? "").toLowerCase());
  return Number(match[1]) * 1024 ** exponent;
}
