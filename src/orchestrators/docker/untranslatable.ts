import type { Untranslatable } from "../contract.js";
import { foreignBinds, untranslatableSysctls } from "../untranslatable.js";
import type { Probe, WorkloadMount, WorkloadSpec } from "../workload.js";

/** What a Docker engine cannot express, or not quite. Pure. */
export function dockerUntranslatable(
  spec: WorkloadSpec,
  allowedBinds: readonly string[],
): Untranslatable[] {
  return [
    ...spec.mounts.flatMap(mountFindings),
    ...foreignBinds(spec, allowedBinds),
    ...probeFindings(spec.probes),
    ...untranslatableSysctls(spec),
    ...stopFindings(spec),
  ];
}

function mountFindings({ kind, target, source, sizeBytes }: WorkloadMount): Untranslatable[] {
  if (kind === "config") {
    return [
      {
        setting: `mounts.${target}`,
        effect: "refused",
        reason: `a Docker engine keeps no configurations or secrets: put ${source} into a volume or an allowed host path`,
      },
    ];
  }
  if (kind === "tmpfs" || sizeBytes === undefined) return [];
  return [
    {
      setting: `mounts.${target}.sizeBytes`,
      effect: "reported",
      reason: "local volumes and host paths have no size of their own in Docker",
    },
  ];
}

function probeFindings({ liveness, readiness, startup }: WorkloadSpec["probes"]): Untranslatable[] {
  const found: Untranslatable[] = [];
  const report = (setting: string, reason: string) =>
    found.push({ setting: `probes.${setting}`, effect: "reported", reason });
  if (liveness !== undefined) {
    report("liveness", "Docker restarts no container because a probe failed");
  }
  if (startup !== undefined) report("startup", "Docker has one health check, for readiness");
  if (readiness !== undefined && readiness.action.kind !== "exec") {
    report(
      "readiness",
      `a Docker health check runs a command, it asks no ${readiness.action.kind}`,
    );
  } else if (needsSuccesses(readiness)) {
    report("readiness.successThreshold", "one success makes a Docker container healthy");
  }
  return found;
}

function needsSuccesses(probe: Probe | undefined): boolean {
  return probe?.successThreshold !== undefined && probe.successThreshold !== 1;
}

function stopFindings({ stopTimeoutMs }: WorkloadSpec): Untranslatable[] {
  if (stopTimeoutMs === undefined || stopTimeoutMs % 1_000 === 0) return [];
  return [
    {
      setting: "stopTimeoutMs",
      effect: "reported",
      reason: "Docker counts whole seconds: it is rounded up",
    },
  ];
}
