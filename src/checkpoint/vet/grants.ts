import type { OciConfig, OciMount } from "../../oci/bundle.js";
import { type CapabilityWords, capabilityWords } from "./capabilities.js";
import { type WithheldCall, withheldCalls } from "./seccomp.js";

/** What the destination's own container grants; nothing of it comes from the checkpoint. */
export interface Grants {
  bounding: CapabilityWords;
  noNewPrivileges: boolean;
  /** AppArmor or SELinux; undefined: none is demanded. */
  lsmLabel: string | undefined;
  /** What the seccomp profile withholds; undefined: there is no profile. */
  withheld: readonly WithheldCall[] | undefined;
  isTty: boolean;
  readOnlyRootfs: boolean;
  mounts: readonly OciMount[];
  maskedPaths: readonly string[];
  readonlyPaths: readonly string[];
  /** OCI names of the namespaces that are not the outer container's: `mount`, `pid` ... */
  namespaces: readonly string[];
  /** Character devices beyond runc's default ones, `major:minor`. */
  devices: readonly string[];
}

/** @param architecture as Node names it */
export function grantsOf(config: OciConfig, architecture: string): Grants {
  const { process, linux } = config;
  return {
    bounding: capabilityWords(process.capabilities?.bounding ?? []),
    noNewPrivileges: process.noNewPrivileges ?? false,
    lsmLabel: process.apparmorProfile || process.selinuxLabel || undefined,
    withheld: linux.seccomp && withheldCalls(linux.seccomp, architecture),
    isTty: process.terminal ?? false,
    readOnlyRootfs: config.root?.readonly ?? false,
    mounts: config.mounts ?? [],
    maskedPaths: linux.maskedPaths ?? [],
    readonlyPaths: linux.readonlyPaths ?? [],
    namespaces: (linux.namespaces ?? []).map(({ type }) => type),
    devices: (linux.devices ?? [])
      .filter(({ type }) => type === "c" || type === "u")
      .map(({ major, minor }) => `${major}:${minor}`),
  };
}
