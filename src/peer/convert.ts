/** Between the wire's messages and the domain's types; nothing else knows both. */
import { type ErrorCode, errorCatalogue, UmsError } from "../errors.js";
import type { Failure } from "../gen/ums/migration/v1/peer.js";
import type {
  Facts as WireFacts,
  ServiceSpec as WireSpec,
} from "../gen/ums/migration/v1/service.js";
import type { Facts, LimitSpec, MountSpec, ProcessSpec, ServiceSpec } from "../spec.js";

export function factsToWire(facts: Facts): WireFacts {
  return { ...facts };
}

export function factsFromWire(facts: WireFacts | undefined): Facts {
  if (facts === undefined) throw invalid("facts are missing");
  const cgroupVersion = facts.cgroupVersion === 1 ? 1 : 2;
  return { ...facts, cgroupVersion };
}

export function specToWire(spec: ServiceSpec): WireSpec {
  const { entrypoint, command, ...process } = spec.process;
  const { memoryBytes, nanoCpus, shmBytes, ulimits } = spec.limits;
  return {
    ...spec,
    image: { ...spec.image },
    process: {
      ...process,
      ...(entrypoint === undefined ? {} : { entrypoint: { values: entrypoint } }),
      ...(command === undefined ? {} : { command: { values: command } }),
    },
    network: { ...spec.network },
    mounts: spec.mounts.map((mount) => ({ ...mount })),
    limits: {
      ulimits: ulimits.map(({ name, soft, hard }) => ({
        name,
        soft: BigInt(soft),
        hard: BigInt(hard),
      })),
      memoryBytes: toBigInt(memoryBytes),
      nanoCpus: toBigInt(nanoCpus),
      shmBytes: toBigInt(shmBytes),
    },
    security: { ...spec.security },
  };
}

/** @throws ERR_SPEC_INVALID */
export function specFromWire(wire: WireSpec | undefined): ServiceSpec {
  if (wire === undefined) throw invalid("the spec is missing");
  const { image, network, security } = wire;
  if (image === undefined || network === undefined || security === undefined) {
    throw invalid("image, network or security is missing");
  }
  return {
    serviceId: required(wire.serviceId, "service_id"),
    name: required(wire.name, "name"),
    image: { ...image, id: required(image.id, "image.id") },
    process: processFromWire(wire.process),
    hostname: wire.hostname,
    network: { ...network, address: required(network.address, "network.address") },
    mounts: wire.mounts.map(mountFromWire),
    limits: limitsFromWire(wire.limits),
    security: { ...security },
    labels: { ...wire.labels },
  };
}

export function failureToWire(thrown: unknown): Failure {
  const error = UmsError.from(thrown);
  const text = (detail: string): string => {
    const value = error.details[detail];
    return typeof value === "string" ? value : "";
  };
  return {
    code: error.code,
    message: error.message,
    hint: error.hint ?? "",
    logTail: text("logTail"),
    logPath: text("logPath"),
  };
}

export function failureFromWire(failure: Failure): UmsError {
  const code = failure.code in errorCatalogue ? (failure.code as ErrorCode) : "ERR_INTERNAL";
  return new UmsError(code, failure.message, {
    details: {
      ...(failure.logTail === "" ? {} : { logTail: failure.logTail }),
      ...(failure.logPath === "" ? {} : { logPath: failure.logPath }),
    },
    ...(failure.hint === "" ? {} : { hint: failure.hint }),
  });
}

function processFromWire(wire: WireSpec["process"]): ProcessSpec {
  if (wire === undefined) throw invalid("process is missing");
  return {
    env: wire.env,
    isTty: wire.isTty,
    hasStdin: wire.hasStdin,
    ...defined("entrypoint", wire.entrypoint?.values),
    ...defined("command", wire.command?.values),
    ...defined("user", wire.user),
    ...defined("workingDir", wire.workingDir),
    ...defined("stopSignal", wire.stopSignal),
  };
}

function mountFromWire(mount: WireSpec["mounts"][number]): MountSpec {
  const { destination, readOnly, origin } = mount;
  if (origin !== "outer" && origin !== "volume") throw invalid(`mount origin ${origin}`);
  if (!isMountDestination(destination)) {
    throw invalid(`mount destination ${JSON.stringify(destination.slice(0, 200))}`);
  }
  return { destination, readOnly, origin };
}

function limitsFromWire(wire: WireSpec["limits"]): LimitSpec {
  return {
    ulimits: (wire?.ulimits ?? []).map(({ name, soft, hard }) => ({
      name,
      soft: Number(soft),
      hard: Number(hard),
    })),
    ...defined("memoryBytes", toNumber(wire?.memoryBytes)),
    ...defined("nanoCpus", toNumber(wire?.nanoCpus)),
    ...defined("shmBytes", toNumber(wire?.shmBytes)),
  };
}

/** `{ key: value }`, or nothing: `exactOptionalPropertyTypes` tells absent from undefined. */
function defined<K extends string, V>(key: K, value: V | undefined): { [key in K]?: V } {
  return value === undefined ? {} : ({ [key]: value } as { [key in K]?: V });
}

function required(value: string, field: string): string {
  if (value === "") throw invalid(`${field} is empty`);
  return value;
}

function toBigInt(value: number | undefined): bigint | undefined {
  return value === undefined ? undefined : BigInt(value);
}

function toNumber(value: bigint | undefined): number | undefined {
  return value === undefined ? undefined : Number(value);
}

function invalid(what: string): UmsError {
  return new UmsError("ERR_SPEC_INVALID", `the peer's message is not valid: ${what}`);
}

/**
 * A plain absolute path below the root. `:` parts the engine's bind strings, `]` the keys of CRIU's
 * external mounts (`mnt[PATH]`), newlines the lines of mountinfo.
 */
export function isMountDestination(path: string): boolean {
  const parts = path.split("/").slice(1);
  const isPlain = path.startsWith("/") && !parts.some((part) => ["", ".", ".."].includes(part));
  return isPlain && path.length < 4_096 && !/[\p{Cc}:\]]/u.test(path);
}
