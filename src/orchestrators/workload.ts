/**
 * The specification of a service in the words of no orchestrator in particular: what a driver reads
 * from its own system and what another one makes of it elsewhere.
 *
 * It describes the outer container as its user wrote it. What every outer container needs of its
 * platform (capabilities, devices, the volume below /var/lib/docker) is not in it: each driver knows
 * how its own system grants that.
 */

export interface WorkloadSpec {
  /** The service's name; unique in its computing system. */
  name: string;
  /** Outer image, as the orchestrator pulls it. */
  image: string;
  /** Arguments of the service, in place of the image's. */
  args?: string[];
  /** In the order given; later ones win. */
  env: { name: string; value: string }[];
  ports: PortSpec[];
  mounts: WorkloadMount[];
  resources: Resources;
  labels: Record<string, string>;
  /** Kubernetes has three probes; Docker's HEALTHCHECK is a readiness probe here. */
  probes: { liveness?: Probe; readiness?: Probe; startup?: Probe };
  restart: { policy: "no" | "on-failure" | "always" | "unless-stopped"; maxRetries?: number };
  hostname?: string;
  /** `uid[:gid]` or names. */
  user?: string;
  workingDir?: string;
  isReadOnlyRoot: boolean;
  dns: { servers: string[]; searches: string[]; options: string[] };
  /** Name -> address, as in /etc/hosts. */
  extraHosts: Record<string, string>;
  ulimits: { name: string; soft: number; hard: number }[];
  sysctls: Record<string, string>;
  stopSignal?: string;
  stopTimeoutMs?: number;
  isTty: boolean;
  hasStdin: boolean;
}

export interface PortSpec {
  /** In the container. */
  port: number;
  protocol: "tcp" | "udp";
  /** On the machine or the cluster's edge; undefined: only inside. 0: any free one. */
  published?: number;
  /** Address it is published at; undefined: all. */
  address?: string;
}

export interface WorkloadMount {
  /** `config`: a file or directory whose content the orchestrator brings (ConfigMap, secret...). */
  kind: "volume" | "bind" | "tmpfs" | "config";
  /** Volume name, host path or configuration name; empty for tmpfs and unnamed volumes. */
  source: string;
  /** Absolute path in the container. */
  target: string;
  isReadOnly: boolean;
  sizeBytes?: number;
}

export interface Resources {
  memoryBytes?: number;
  cpus?: number;
  pids?: number;
  shmBytes?: number;
}

export type ProbeAction =
  | { kind: "exec"; command: string[] }
  | { kind: "http"; path: string; port: number; isHttps: boolean }
  | { kind: "tcp"; port: number };

export interface Probe {
  action: ProbeAction;
  /** All at least 1 where given. */
  periodMs?: number;
  timeoutMs?: number;
  initialDelayMs?: number;
  failureThreshold?: number;
  successThreshold?: number;
}
