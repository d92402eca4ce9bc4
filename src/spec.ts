/**
 * What a nested service is: everything needed to create its container somewhere else, and nothing
 * of how it is moved. Made at the first start from the outer container's own surroundings
 * (supervisor/), sent to a destination at reservation, kept in /var/lib/ums.
 */

export interface ServiceSpec {
  /** UUID given at the first start; stays with the service over every move. */
  serviceId: string;
  /** What people call it: `UMS_SERVICE_NAME`, else the outer container's hostname. */
  name: string;
  image: ImageSpec;
  process: ProcessSpec;
  hostname: string;
  network: NetworkSpec;
  mounts: MountSpec[];
  limits: LimitSpec;
  security: SecuritySpec;
  labels: Record<string, string>;
}

export interface ImageSpec {
  /** As the user wrote it, e.g. `redis:7`. */
  reference: string;
  /** Image id: `sha256:` and the digest of its configuration. */
  id: string;
  /** Uncompressed layer digests (OCI `rootfs.diff_ids`), base first. */
  layers: string[];
}

export interface ProcessSpec {
  /** Undefined: the image's own. */
  entrypoint?: string[];
  command?: string[];
  /** `NAME=value`; added to the image's own environment. */
  env: string[];
  /** Undefined: the image's own. */
  user?: string;
  workingDir?: string;
  isTty: boolean;
  hasStdin: boolean;
  /** e.g. `SIGQUIT`; undefined: the image's own, else SIGTERM. */
  stopSignal?: string;
}

/**
 * The private network of the nested service: the same on every outer container, so that its
 * sockets can be restored anywhere.
 */
export interface NetworkSpec {
  /** IPv4 CIDR of the inner bridge network. */
  subnet: string;
  gateway: string;
  /** The service's constant address. */
  address: string;
}

export interface MountSpec {
  /** Absolute path in the nested container, and in the outer one when the orchestrator gave it. */
  destination: string;
  readOnly: boolean;
  /**
   * `outer`: the orchestrator mounted something at the same path of the outer container.
   * `volume`: the image declares a VOLUME there and no one mounted anything.
   */
  origin: "outer" | "volume";
}

export interface LimitSpec {
  memoryBytes?: number;
  nanoCpus?: number;
  shmBytes?: number;
  ulimits: { name: string; soft: number; hard: number }[];
}

export interface SecuritySpec {
  /** Docker capability names without `CAP_`, added to the engine's default set. */
  addCapabilities: string[];
  dropCapabilities: string[];
  readOnlyRootfs: boolean;
}

/** A connection of the service as the outer container's connection tracking sees it. */
export interface Flow {
  protocol: "tcp" | "udp";
  remoteAddress: string;
  remotePort: number;
  servicePort: number;
}

/** What a machine offers; both ends compare theirs before anything is moved. */
export interface Facts {
  /** Both ends must speak the same. */
  protocolVersion: number;
  umsVersion: string;
  /** As Node names it: x64, arm64. */
  architecture: string;
  kernelRelease: string;
  criuVersion: string;
  cgroupVersion: 1 | 2;
  /** Instruction-set extensions, as /proc/cpuinfo names them. */
  cpuFlags: string[];
}
