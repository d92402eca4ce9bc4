import type Docker from "dockerode";
import type { CreateOrder } from "../contract.js";
import { formatVariable, outerVariables } from "../environment.js";
import {
  enginePath,
  isPlatformPath,
  migrationLabel,
  portsLabel,
  serviceLabel,
  statePath,
  supervisorPortCount,
  tlsPath,
} from "../platform.js";
import { withoutForeignBinds } from "../untranslatable.js";
import type { PortSpec, Probe, WorkloadMount, WorkloadSpec } from "../workload.js";

/** Where the certificates of outer containers come from. */
export interface OuterTls {
  kind: "volume" | "bind";
  /** Volume name, or directory on the engine's machine. */
  source: string;
}

/** Which way an outer container gets what CRIU and its inner engine need. */
export type Privileges = "privileged" | "capabilities";

export interface WriteOptions {
  outerTls?: OuterTls;
  /** Directories on the engine's machine that may be bound. */
  allowedBinds: readonly string[];
  privileges: Privileges;
  /** First of the machine's ports at which the supervisor is published; undefined: it is not. */
  firstPort?: number | undefined;
}

/** An order as a request to create a container. Pure; the order's settings must be translatable. */
export function createRequest(
  order: CreateOrder,
  options: WriteOptions,
): Docker.ContainerCreateOptions {
  const { spec } = order;
  const { firstPort } = options;
  const ports = [...spec.ports, ...supervisorPorts(firstPort)];
  const healthcheck = healthcheckOf(spec.probes.readiness);
  return {
    name: spec.name,
    Image: spec.image,
    ...(spec.args === undefined ? {} : { Cmd: spec.args }),
    Env: outerVariables(spec, order.startMode, firstPort).map(formatVariable),
    ExposedPorts: Object.fromEntries(ports.map((port) => [portKey(port), {}])),
    Labels: {
      ...spec.labels,
      ...ownLabels(order),
      ...(firstPort === undefined ? {} : { [portsLabel]: `${firstPort}` }),
    },
    ...(healthcheck === undefined ? {} : { Healthcheck: healthcheck }),
    ...(spec.hostname === undefined ? {} : { Hostname: spec.hostname }),
    ...(spec.workingDir === undefined ? {} : { WorkingDir: spec.workingDir }),
    ...(spec.stopSignal === undefined ? {} : { StopSignal: spec.stopSignal }),
    ...(spec.stopTimeoutMs === undefined
      ? {}
      : { StopTimeout: Math.ceil(spec.stopTimeoutMs / 1_000) }),
    Tty: spec.isTty,
    OpenStdin: spec.hasStdin,
    HostConfig: {
      ...hostConfig(spec),
      PortBindings: portBindings(ports),
      ...grantOf(options.privileges),
      Mounts: mountsOf(order, options),
    },
  };
}

/** Of the container and of every volume that is made with it. */
export function ownLabels({ spec, migrationId }: CreateOrder): Record<string, string> {
  return { [serviceLabel]: spec.name, [migrationLabel]: migrationId };
}

function hostConfig(spec: WorkloadSpec): Docker.HostConfig {
  const { memoryBytes, cpus, pids, shmBytes } = spec.resources;
  const { policy, maxRetries = 0 } = spec.restart;
  return {
    RestartPolicy: { Name: policy, MaximumRetryCount: policy === "on-failure" ? maxRetries : 0 },
    Dns: spec.dns.servers,
    DnsSearch: spec.dns.searches,
    DnsOptions: spec.dns.options,
    ExtraHosts: Object.entries(spec.extraHosts).map(([host, address]) => `${host}:${address}`),
    Ulimits: spec.ulimits.map(({ name, soft, hard }) => ({ Name: name, Soft: soft, Hard: hard })),
    Sysctls: spec.sysctls,
    ...(memoryBytes === undefined ? {} : { Memory: memoryBytes }),
    ...(cpus === undefined ? {} : { NanoCpus: Math.round(cpus * 1e9) }),
    ...(pids === undefined ? {} : { PidsLimit: pids }),
    ...(shmBytes === undefined ? {} : { ShmSize: shmBytes }),
  };
}

/** The same list as scripts/outer-flags.sh, which gives the reasons. */
function grantOf(privileges: Privileges): Docker.HostConfig {
  if (privileges === "privileged") return { Privileged: true };
  return {
    CapAdd: ["ALL"],
    CapDrop: ["SYS_RESOURCE"],
    SecurityOpt: ["seccomp=unconfined", "apparmor=unconfined"],
    // `systempaths=unconfined` of the docker client.
    MaskedPaths: [],
    ReadonlyPaths: [],
    DeviceCgroupRules: ["a *:* rwm"],
  };
}

function supervisorPorts(firstPort: number | undefined): PortSpec[] {
  if (firstPort === undefined) return [];
  return Array.from({ length: supervisorPortCount }, (_, index) => {
    const port = firstPort + index;
    return { port, protocol: "tcp", published: port };
  });
}

function portKey({ port, protocol }: PortSpec): string {
  return `${port}/${protocol}`;
}

function portBindings(ports: readonly PortSpec[]): Record<string, object[]> {
  const bindings: Record<string, object[]> = {};
  for (const port of ports) {
    if (port.published === undefined) continue;
    const list = bindings[portKey(port)] ?? [];
    list.push({ HostIp: port.address ?? "", HostPort: `${port.published}` });
    bindings[portKey(port)] = list;
  }
  return bindings;
}

function mountsOf(order: CreateOrder, options: WriteOptions): Docker.MountConfig {
  const { spec, migrationId } = order;
  const labels = ownLabels(order);
  // Of one migration only: a journal of an earlier one would forbid the service to run.
  const own = `${spec.name}-ums-${migrationId.replace(/[^a-zA-Z0-9_.-]/g, "_").slice(-36)}`;
  const state: WorkloadMount[] = [
    { kind: "volume", source: `${own}-state`, target: statePath, isReadOnly: false },
    { kind: "volume", source: `${own}-engine`, target: enginePath, isReadOnly: false },
  ];
  const tls: WorkloadMount[] =
    options.outerTls === undefined
      ? []
      : [{ ...options.outerTls, target: tlsPath, isReadOnly: true }];
  // What the platform is given is ours to say, whoever put it into the order.
  const services = spec.mounts.filter(({ target }) => !isPlatformPath(target));
  const given = withoutForeignBinds(services, options.allowedBinds);
  return [
    // Not ours to remove: it has no labels.
    ...tls.map((mount) => mountOf(mount, undefined)),
    ...[...state, ...given].map((mount) => mountOf(mount, labels)),
  ];
}

/** @param labels of a volume that does not exist yet; an existing one keeps its own */
function mountOf(
  { kind, source, target, isReadOnly, sizeBytes }: WorkloadMount,
  labels: Record<string, string> | undefined,
): Docker.MountSettings {
  const mount = { Source: source, Target: target, ReadOnly: isReadOnly };
  if (kind === "tmpfs") {
    const options = sizeBytes === undefined ? {} : { TmpfsOptions: { SizeBytes: sizeBytes } };
    return { ...mount, Source: "", Type: "tmpfs", ...options } as Docker.MountSettings;
  }
  if (kind === "bind") return { ...mount, Type: "bind" };
  const options = labels === undefined ? {} : { VolumeOptions: { Labels: labels } };
  return { ...mount, Type: "volume", ...options } as Docker.MountSettings;
}

function healthcheckOf(probe: Probe | undefined): Docker.HealthConfig | undefined {
  if (probe?.action.kind !== "exec") return undefined;
  const nanoseconds = (ms: number | undefined) => (ms === undefined ? 0 : ms * 1e6);
  // Zero: as in the image.
  return {
    Test: ["CMD", ...probe.action.command],
    Interval: nanoseconds(probe.periodMs),
    Timeout: nanoseconds(probe.timeoutMs),
    StartPeriod: nanoseconds(probe.initialDelayMs),
    Retries: probe.failureThreshold ?? 0,
  };
}
