/** Whether a service can live here. */
import { readdir } from "node:fs/promises";
import { UmsError } from "../../errors.js";
import type { MountSpec } from "../../spec.js";

/** @throws ERR_NO_ROOM */
export function requireRoom(what: string, neededBytes: number, freeBytesNow: number): void {
  if (neededBytes <= freeBytesNow) return;
  const mib = (bytes: number) => Math.ceil(bytes / 1024 ** 2);
  throw new UmsError(
    "ERR_NO_ROOM",
    `the destination has ${mib(freeBytesNow)} MiB of ${what}, ${mib(neededBytes)} are needed`,
    { details: { neededBytes, freeBytes: freeBytesNow }, hint: "give the outer container more" },
  );
}

/**
 * Receiving replaces what is there, so data that is not known to be the service's own stays.
 * @throws ERR_VOLUME_NOT_EMPTY
 */
export async function requireEmpty(mounts: readonly MountSpec[]): Promise<void> {
  for (const { destination, origin, readOnly } of mounts) {
    if (origin !== "outer" || readOnly) continue;
    const names = (await readdir(destination)).filter((name) => name !== "lost+found");
    if (names.length === 0) continue;
    throw new UmsError("ERR_VOLUME_NOT_EMPTY", `the destination has data at ${destination}`, {
      hint: "mount an empty volume there, or none: the service brings its own data",
    });
  }
}

/**
 * What a service may do beyond the engine's default is this side's owner to say, not the source's:
 * a received checkpoint is measured against it.
 * @throws ERR_PRIVILEGE_MISSING
 */
export function requireGranted(wanted: readonly string[], granted: readonly string[]): void {
  const missing = wanted.filter((name) => !granted.includes(name) && !granted.includes("ALL"));
  if (missing.length === 0) return;
  const names = missing.join(", ");
  throw new UmsError(
    "ERR_PRIVILEGE_MISSING",
    `the destination does not grant the service ${names}`,
    {
      hint: `start the destination with UMS_CAP_ADD=${missing.join(",")} if it may have that there`,
      details: { missing },
    },
  );
}
