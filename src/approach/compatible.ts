/** Whether a process tree of one machine can go on on another. */
import { UmsError } from "../errors.js";
import type { Facts, ServiceSpec } from "../spec.js";

export const protocolVersion = 1;

/**
 * Instruction-set extensions a program may have chosen at its start (glibc's and OpenSSL's
 * dispatchers do); without one of them it would end with SIGILL after the move.
 */
const userVisibleFlag =
  /^(sse|ssse|avx|fma|bmi|aes|sha|pclmul|popcnt|movbe|rdrand|rdseed|adx|f16c|vaes|vpclmul|gfni|amx|erms|fsrm|abm|xsave|clflushopt|clwb|asimd|sve|atomics|crc32)/;

/** @throws ERR_PEER_VERSION, ERR_PEER_INCOMPATIBLE naming the difference */
export function checkCompatible(source: Facts, destination: Facts, spec: ServiceSpec): void {
  if (source.protocolVersion !== destination.protocolVersion) {
    throw new UmsError(
      "ERR_PEER_VERSION",
      `the peers speak protocol ${source.protocolVersion} and ${destination.protocolVersion}`,
      { hint: "use the same version of the outer image on both sides" },
    );
  }
  if (source.architecture !== destination.architecture) {
    throw incompatible(`${spec.name} runs on ${source.architecture}, not on this machine's`);
  }
  if (source.cgroupVersion !== destination.cgroupVersion) {
    throw incompatible(
      `the source has cgroup v${source.cgroupVersion}, the destination v${destination.cgroupVersion}`,
    );
  }
  if (compareVersions(destination.criuVersion, source.criuVersion) < 0) {
    throw incompatible(
      `CRIU ${destination.criuVersion} cannot restore what ${source.criuVersion} dumped`,
    );
  }
  const has = new Set(destination.cpuFlags);
  const lacking = source.cpuFlags.filter((flag) => userVisibleFlag.test(flag) && !has.has(flag));
  if (lacking.length > 0) {
    throw incompatible(`the destination's processor lacks ${lacking.join(", ")}`);
  }
}

function incompatible(message: string): UmsError {
  return new UmsError("ERR_PEER_INCOMPATIBLE", message, {
    hint: "choose another destination",
  });
}

/** Negative when `a` is older than `b`; dotted numbers. */
export function compareVersions(a: string, b: string): number {
  const left = a.split(".").map(Number);
  const right = b.split(".").map(Number);
  for (let index = 0; index < Math.max(left.length, right.length); index += 1) {
    const difference = (left[index] ?? 0) - (right[index] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}
