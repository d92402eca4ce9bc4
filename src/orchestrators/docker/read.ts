import type Docker from "dockerode";
import type { Endpoint, Workload } from "../contract.js";
import { parseVariable, serviceVariables, supervisorPorts } from "../environment.js";
import { migrationLabel, portsLabel, serviceLabel, supervisorPortCount } from "../platform.js";
import type { PortSpec, Probe, WorkloadSpec } from "../workload.js";
import { readMounts } from "./read-mounts.js";

type Inspection = Docker.ContainerInspectInfo;

/** The configuration of the container's image: what it says, its user did not. */
export interface ImageConfig {
  Cmd?: string[] | null;
  Env?: string[] | null;
  Labels?: Record<string, string> | null;
  Volumes?: Record<string, object> | null;
  ExposedPorts?: Record<string, object> | null;
  WorkingDir?: string;
  User?: string;
  StopSignal?: string;
  Healthcheck?: Docker.HealthConfig;
}

/** What the engine gives a container whose user said nothing. */
const defaultShmBytes = 64 * 2 ** 20;

/**
 * A container of the engine as a workload. Pure.
 * @param publicHost where the machine's own ports are reached
 */
export function readWorkload(
  container: Inspection,
  image: ImageConfig,
  publicHost?: string,
): Workload {
  const migrationId = container.Config.Labels?.[migrationLabel];
  const endpoint = endpointOf(container, publicHost);
  return {
    id: container.Id,
    spec: readSpec(container, image),
    state: stateOf(container),
    ...(endpoint === undefined ? {} : { endpoint }),
    ...(migrationId === undefined ? {} : { migrationId }),
  };
}

export function nameOf(container: Inspection): string {
  return container.Name.replace(/^\//, "");
}

function stateOf({ State }: Inspection): Workload["state"] {
  if (State.Status === "created" || State.Restarting) return "starting";
  return State.Running ? "running" : "ended";
}

/** The container's own address is reached from this machine only, unless its ports are published. */
export function endpointOf(
  container: Inspection,
  publicHost: string | undefined,
): Endpoint | undefined {
  if (!container.State.Running) return undefined;
  const firstPort = firstPortOf(container);
  if (firstPort !== undefined && publicHost !== undefined) {
    return { host: publicHost, peerPort: firstPort, httpPort: firstPort + 1 };
  }
  const networks = Object.values(container.NetworkSettings.Networks);
  const host = networks.find(({ IPAddress }) => IPAddress !== "")?.IPAddress;
  if (host === undefined) return undefined;
  return { host, ...supervisorPorts(container.Config.Env.map(parseVariable)) };
}

function firstPortOf({ Config }: Inspection): number | undefined {
  const label = Config.Labels?.[portsLabel];
  return label === undefined ? undefined : Number(label);
}

function readSpec(container: Inspection, image: ImageConfig): WorkloadSpec {
  const { Config, HostConfig } = container;
  const own = <T>(value: T | undefined | null, imageValue: T | undefined | null) =>
    value === undefined || value === null || value === "" || isSame(value, imageValue)
      ? undefined
      : value;
  const imageVariables = new Set(image.Env ?? []);
  const variables = (Config.Env ?? []).filter((variable) => !imageVariables.has(variable));
  const {
    env,
    user = own(Config.User, image.User),
    isReadOnlyRoot,
  } = serviceVariables(variables.map(parseVariable), firstPortOf(container));
  const stopSeconds = (Config as { StopTimeout?: number | null }).StopTimeout;
  const hostname = container.Id.startsWith(Config.Hostname) ? undefined : Config.Hostname;
  return {
    name: nameOf(container),
    image: Config.Image,
    ...optional("args", own(Config.Cmd, image.Cmd)),
    env,
    ports: readPorts(container, image),
    mounts: readMounts(container, Object.keys(image.Volumes ?? {})),
    resources: readResources(HostConfig),
    labels: readLabels(Config.Labels ?? {}, image.Labels ?? {}),
    probes: readProbes(Config.Healthcheck, image.Healthcheck),
    restart: readRestart(HostConfig.RestartPolicy),
    ...optional("hostname", own(hostname, "")),
    ...optional("user", user),
    ...optional("workingDir", own(Config.WorkingDir, image.WorkingDir)),
    isReadOnlyRoot: isReadOnlyRoot || HostConfig.ReadonlyRootfs === true,
    dns: {
      servers: HostConfig.Dns ?? [],
      searches: HostConfig.DnsSearch ?? [],
      options: HostConfig.DnsOptions ?? [],
    },
    extraHosts: readHosts((HostConfig.ExtraHosts as string[] | null) ?? []),
    ulimits: (
      (HostConfig.Ulimits as { Name: string; Soft: number; Hard: number }[] | null) ?? []
    ).map(({ Name, Soft, Hard }) => ({ name: Name, soft: Soft, hard: Hard })),
    sysctls: HostConfig.Sysctls ?? {},
    ...optional(
      "stopSignal",
      own((Config as { StopSignal?: string }).StopSignal, image.StopSignal),
    ),
    ...optional("stopTimeoutMs", typeof stopSeconds === "number" ? stopSeconds * 1_000 : undefined),
    isTty: Config.Tty,
    hasStdin: Config.OpenStdin,
  };
}

function readPorts(container: Inspection, image: ImageConfig): PortSpec[] {
  const { Config, HostConfig } = container;
  const firstPort = firstPortOf(container) ?? Number.POSITIVE_INFINITY;
  const bindings = (HostConfig.PortBindings ?? {}) as Record<string, PortBinding[] | null>;
  const exposed = Object.keys(Config.ExposedPorts ?? {});
  const keys = new Set([...Object.keys(bindings), ...exposed]);
  return [...keys]
    .flatMap((key): PortSpec[] => {
      const [number = "", protocol = "tcp"] = key.split("/");
      // SCTP is told by inexpressible.ts.
      if (protocol !== "tcp" && protocol !== "udp") return [];
      const port = Number(number);
      if (port >= firstPort && port < firstPort + supervisorPortCount) return [];
      const inside: PortSpec = { port, protocol };
      const list = bindings[key] ?? [];
      if (list.length > 0) return list.map((binding) => ({ ...inside, ...publishedAt(binding) }));
      if (HostConfig.PublishAllPorts === true) return [{ ...inside, published: 0 }];
      return key in (image.ExposedPorts ?? {}) ? [] : [inside];
    })
    .sort((a, b) => a.port - b.port || (a.protocol < b.protocol ? -1 : 1));
}

interface PortBinding {
  HostIp?: string;
  HostPort?: string;
}

/** A range of ports (`8000-8010`) means any of them. */
function publishedAt({ HostIp = "", HostPort = "" }: PortBinding) {
  const published = /^\d+$/.test(HostPort) ? Number(HostPort) : 0;
  return { published, ...(HostIp === "" ? {} : { address: HostIp }) };
}

function readResources(host: Docker.HostConfig): WorkloadSpec["resources"] {
  const { CpuQuota = 0, CpuPeriod = 0 } = host;
  const byQuota = CpuQuota > 0 ? CpuQuota / (CpuPeriod || 100_000) : undefined;
  return {
    ...optional("memoryBytes", host.Memory || undefined),
    ...optional("cpus", host.NanoCpus ? host.NanoCpus / 1e9 : byQuota),
    // -1: no limit.
    ...optional("pids", (host.PidsLimit ?? 0) > 0 ? (host.PidsLimit ?? 0) : undefined),
    ...optional("shmBytes", host.ShmSize === defaultShmBytes ? undefined : host.ShmSize),
  };
}

function readLabels(
  labels: Record<string, string>,
  imageLabels: Record<string, string>,
): Record<string, string> {
  const ours = [serviceLabel, migrationLabel, portsLabel];
  const isOwn = ([name, value]: [string, string]) =>
    !ours.includes(name) && imageLabels[name] !== value;
  return Object.fromEntries(Object.entries(labels).filter(isOwn));
}

function readProbes(
  check: Docker.HealthConfig | undefined,
  imageCheck: Docker.HealthConfig = {},
): WorkloadSpec["probes"] {
  const [kind, ...words] = check?.Test ?? [];
  if (check === undefined || isSame(check, imageCheck)) return {};
  // NONE is told by inexpressible.ts.
  if (kind !== "CMD" && kind !== "CMD-SHELL") return {};
  const command = kind === "CMD" ? words : ["/bin/sh", "-c", ...words];
  const own = (key: "Interval" | "Timeout" | "StartPeriod" | "Retries", unit: number) => {
    const value = check[key];
    return value === undefined || value === 0 || value === imageCheck[key]
      ? undefined
      : value / unit;
  };
  const readiness: Probe = {
    action: { kind: "exec", command },
    ...optional("periodMs", own("Interval", 1e6)),
    ...optional("timeoutMs", own("Timeout", 1e6)),
    ...optional("initialDelayMs", own("StartPeriod", 1e6)),
    ...optional("failureThreshold", own("Retries", 1)),
  };
  return { readiness };
}

function readRestart(restart: Docker.HostRestartPolicy | undefined): WorkloadSpec["restart"] {
  const policy = (restart?.Name || "no") as WorkloadSpec["restart"]["policy"];
  return { policy, ...optional("maxRetries", restart?.MaximumRetryCount || undefined) };
}

/** `name:address`; an IPv6 address has colons too. */
function readHosts(entries: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    entries.map((entry) => {
      const at = entry.indexOf(":");
      return [entry.slice(0, at), entry.slice(at + 1)];
    }),
  );
}

function isSame(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

function optional<K extends string, T>(key: K, value: T | undefined): { [key in K]?: T } {
  return (value === undefined ? {} : { [key]: value }) as { [key in K]?: T };
}
