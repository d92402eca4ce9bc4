/** Settings that a driver cannot express: the findings that several drivers share. */
import { posix } from "node:path";
import { UmsError } from "../errors.js";
import type { Untranslatable } from "./contract.js";
import type { WorkloadMount, WorkloadSpec } from "./workload.js";

/** @throws ERR_UNTRANSLATABLE naming all that are `refused`; `details.settings` has them whole */
export function refuseUntranslatable(found: readonly Untranslatable[]): void {
  const refused = found.filter(({ effect }) => effect === "refused");
  if (refused.length === 0) return;
  const reasons = refused.map(({ setting, reason }) => `${setting} (${reason})`).join("; ");
  throw new UmsError("ERR_UNTRANSLATABLE", `this orchestrator cannot give it: ${reasons}`, {
    details: { settings: refused },
    hint: "follow the reasons, remove the settings, or choose another system",
  });
}

/**
 * A container has its own value of these only (sysctl(8) of ipc and network namespaces, checked by
 * runc); any other would change the whole machine, and runc refuses it.
 */
const namespacedSysctl =
  /^(net\..+|fs\.mqueue\..+|kernel\.(msgmax|msgmnb|msgmni|sem|shmall|shmmax|shmmni|shm_rmid_forced))$/;

export function untranslatableSysctls(spec: WorkloadSpec): Untranslatable[] {
  return Object.keys(spec.sysctls)
    .filter((name) => !namespacedSysctl.test(name))
    .map((name) => ({
      setting: `sysctls.${name}`,
      effect: "refused",
      reason:
        "it belongs to the whole machine, not to a container: set it there, and remove it here",
    }));
}

/** True for a host path that lies in one of the `allowed` directories, or is one. */
export function isAllowedBind(source: string, allowed: readonly string[]): boolean {
  const path = posix.normalize(source).replace(/(.)\/+$/, "$1");
  if (!path.startsWith("/")) return false;
  return allowed.some((directory) => {
    const root = posix.normalize(directory).replace(/(.)\/+$/, "$1");
    return root === "/" || path === root || path.startsWith(`${root}/`);
  });
}

/** Host paths that are not allowed; {@link withoutForeignBinds} puts volumes in their place. */
export function foreignBinds(spec: WorkloadSpec, allowed: readonly string[]): Untranslatable[] {
  return spec.mounts
    .filter((mount) => isForeign(mount, allowed))
    .map(({ target, source }) => ({
      setting: `mounts.${target}`,
      effect: "reported",
      reason: `the host path ${source} is not allowed here: a new volume takes its place, and its content is brought over`,
    }));
}

/** The mounts as they are made here: an unnamed volume for each host path that is not allowed. */
export function withoutForeignBinds(
  mounts: readonly WorkloadMount[],
  allowed: readonly string[],
): WorkloadMount[] {
  return mounts.map((mount) =>
    isForeign(mount, allowed) ? { ...mount, kind: "volume", source: "" } : mount,
  );
}

function isForeign({ kind, source }: WorkloadMount, allowed: readonly string[]): boolean {
  return kind === "bind" && !isAllowedBind(source, allowed);
}
