import { hookRuntime } from "../dockerd/daemon-config.js";
import type { ContainerOptions } from "../dockerd/engine.js";
import type { MountSpec, ServiceSpec } from "../spec.js";
import { ownLabel, serviceName, volumeName } from "./names.js";

export interface CreateContext {
  /** Id of the container that owns the network namespace. */
  holderId: string;
  /** False where the runtime hook is not installed: then nothing can be restored. */
  hasHookRuntime: boolean;
  /** RLIMIT_NOFILE of this outer container; a limit above it could not be set without
   * CAP_SYS_RESOURCE (man 2 setrlimit). */
  maxOpenFiles: number;
}

/**
 * Options that create the nested container of a service.
 *
 * The holder owns network namespace, hostname and DNS: the engine refuses a hostname of its own
 * for a container that joins another one's network, and takes the holder's.
 */
export function containerOptions(spec: ServiceSpec, context: CreateContext): ContainerOptions {
  const { process, limits, security } = spec;
  return {
    name: serviceName,
    Image: spec.image.id,
    ...(process.entrypoint === undefined ? {} : { Entrypoint: process.entrypoint }),
    ...(process.command === undefined ? {} : { Cmd: process.command }),
    ...(process.user === undefined ? {} : { User: process.user }),
    ...(process.workingDir === undefined ? {} : { WorkingDir: process.workingDir }),
    ...(process.stopSignal === undefined ? {} : { StopSignal: process.stopSignal }),
    Env: process.env,
    Tty: process.isTty,
    OpenStdin: process.hasStdin,
    // A client that closes its end of the outer's stdin closes the service's; a terminal has its
    // end of file in band.
    StdinOnce: process.hasStdin && !process.isTty,
    AttachStdin: process.hasStdin,
    AttachStdout: true,
    AttachStderr: !process.isTty,
    Labels: { ...spec.labels, [ownLabel]: "service", "ums.service-id": spec.serviceId },
    HostConfig: {
      NetworkMode: `container:${context.holderId}`,
      ...(context.hasHookRuntime ? { Runtime: hookRuntime } : {}),
      Binds: spec.mounts.map(bind),
      RestartPolicy: { Name: "no" },
      ReadonlyRootfs: security.readOnlyRootfs,
      CapAdd: security.addCapabilities,
      CapDrop: security.dropCapabilities,
      Ulimits: limits.ulimits.map((limit) => clamp(limit, context.maxOpenFiles)),
      ...(limits.memoryBytes === undefined ? {} : { Memory: limits.memoryBytes }),
      ...(limits.nanoCpus === undefined ? {} : { NanoCpus: limits.nanoCpus }),
      ...(limits.shmBytes === undefined ? {} : { ShmSize: limits.shmBytes }),
    },
  };
}

/**
 * `source:destination[:mode]`. A volume takes what the image has at its destination when it is
 * new (the engine's rule for named volumes); a mount of the orchestrator comes as it is. Private,
 * the engine's own default: CRIU cannot restore mounts that are slaves of one peer group where they
 * come from different mounts ("mnt-v2: Failed to copy sharing", measured with two volumes).
 */
function bind(mount: MountSpec): string {
  const mode = mount.readOnly ? "ro" : "rw";
  return mount.origin === "volume"
    ? `${volumeName(mount.destination)}:${mount.destination}:${mode}`
    : `${mount.destination}:${mount.destination}:${mode},rprivate`;
}

function clamp(limit: { name: string; soft: number; hard: number }, maxOpenFiles: number) {
  const most = limit.name === "nofile" ? maxOpenFiles : Number.POSITIVE_INFINITY;
  return {
    Name: limit.name,
    Soft: Math.min(limit.soft, most),
    Hard: Math.min(limit.hard, most),
  };
}
