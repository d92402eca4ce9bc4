import { isDeepStrictEqual } from "node:util";
import type { Config } from "../config.js";
import type { ImageInspection } from "../dockerd/images.js";
import { UmsError } from "../errors.js";
import type { LimitSpec, MountSpec, NetworkSpec, ServiceSpec } from "../spec.js";
import type { Surroundings } from "./surroundings.js";
import { baselineEnvironment, serviceEnvironment } from "./surroundings-parse.js";

export interface SpecInput {
  config: Config;
  surroundings: Surroundings;
  image: ImageInspection;
  /** As the user wrote it. */
  imageReference: string;
  /** Working directory that the outer image itself sets. */
  ownWorkingDir: string;
  /** Arguments of the outer container; they replace the image's command. */
  args: readonly string[];
  serviceId: string;
}

/** Puts together what the nested service is, from the outer container's own surroundings. */
export function buildSpec(input: SpecInput): ServiceSpec {
  const { config, surroundings, image } = input;
  const command = input.args.length > 0 ? [...input.args] : config.UMS_COMMAND;
  const workingDir = config.UMS_WORKING_DIR ?? workingDirOf(input);
  return {
    serviceId: input.serviceId,
    name: config.UMS_SERVICE_NAME ?? surroundings.hostname,
    image: { reference: input.imageReference, id: image.id, layers: image.layers },
    process: {
      ...(config.UMS_ENTRYPOINT === undefined ? {} : { entrypoint: config.UMS_ENTRYPOINT }),
      ...(command === undefined ? {} : { command }),
      env: serviceEnvironment(
        surroundings.environment,
        [...baselineEnvironment(surroundings.hostname), ...image.config.env],
        config.UMS_ENV,
      ),
      ...(config.UMS_USER === undefined ? {} : { user: config.UMS_USER }),
      ...(workingDir === undefined ? {} : { workingDir }),
      isTty: surroundings.isTty,
      hasStdin: surroundings.hasStdin,
      ...(image.config.stopSignal === undefined ? {} : { stopSignal: image.config.stopSignal }),
    },
    hostname: surroundings.hostname,
    network: networkOf(config.UMS_SUBNET),
    mounts: mountsOf(surroundings.mounts, image.config.volumes),
    limits: limitsOf(config, surroundings),
    security: {
      addCapabilities: config.UMS_CAP_ADD,
      dropCapabilities: config.UMS_CAP_DROP,
      readOnlyRootfs: config.UMS_READ_ONLY || surroundings.readOnlyRootfs,
    },
    labels: {},
  };
}

/** True when both describe the same service; the id is made up at each first start. */
export function isSameSpec(a: ServiceSpec, b: ServiceSpec): boolean {
  const plain = (spec: ServiceSpec): unknown =>
    JSON.parse(JSON.stringify({ ...spec, serviceId: "" }));
  return isDeepStrictEqual(plain(a), plain(b));
}

/**
 * Gateway and service take the first two addresses of the subnet.
 * @throws ERR_CONFIG_INVALID when the subnet is not one
 */
export function networkOf(subnet: string): NetworkSpec {
  const [base = "", prefix = ""] = subnet.split("/");
  const bytes = base.split(".").map(Number);
  const value = bytes.reduce((sum, byte) => sum * 256 + byte, 0);
  const size = 2 ** (32 - Number(prefix));
  if (bytes.some((byte) => byte > 255) || value % size !== 0) {
    throw new UmsError("ERR_CONFIG_INVALID", `UMS_SUBNET=${subnet} is not a network address`, {
      details: { variable: "UMS_SUBNET" },
    });
  }
  return { subnet, gateway: dotted(value + 1), address: dotted(value + 2) };
}

function dotted(value: number): string {
  return [24, 16, 8, 0].map((shift) => Math.floor(value / 2 ** shift) % 256).join(".");
}

/** Undefined: the image's own. A directory that the outer image sets itself says nothing. */
function workingDirOf(input: SpecInput): string | undefined {
  const { workingDir } = input.surroundings;
  return workingDir === input.ownWorkingDir ? undefined : workingDir;
}

function mountsOf(given: readonly MountSpec[], volumes: readonly string[]): MountSpec[] {
  const taken = new Set(given.map(({ destination }) => destination));
  const unmounted = volumes
    .map((path) => path.replace(/(.)\/+$/, "$1"))
    .filter((path) => !taken.has(path));
  return [
    ...given,
    ...unmounted.map(
      (destination): MountSpec => ({ destination, readOnly: false, origin: "volume" }),
    ),
  ];
}

function limitsOf(config: Config, surroundings: Surroundings): LimitSpec {
  const shmBytes = config.UMS_SHM_SIZE ?? surroundings.shmBytes;
  return {
    ...(config.UMS_MEMORY === undefined ? {} : { memoryBytes: config.UMS_MEMORY }),
    ...(config.UMS_CPUS === undefined ? {} : { nanoCpus: Math.round(config.UMS_CPUS * 1e9) }),
    ...(shmBytes === undefined ? {} : { shmBytes }),
    ulimits:
      surroundings.openFiles === undefined ? [] : [{ name: "nofile", ...surroundings.openFiles }],
  };
}
