/** Specifications for the suite, and a way to take single settings out of one. */
import type { WorkloadSpec } from "../../src/orchestrators/workload.js";

/** Nothing but a name and an image. */
export function plainSpec(name: string, image: string): WorkloadSpec {
  return {
    name,
    image,
    env: [],
    ports: [],
    mounts: [],
    resources: {},
    labels: {},
    probes: {},
    restart: { policy: "no" },
    isReadOnlyRoot: false,
    dns: { servers: [], searches: [], options: [] },
    extraHosts: {},
    ulimits: [],
    sysctls: {},
    isTty: false,
    hasStdin: false,
  };
}

/** Every field has a value of its own, none the default of a system. */
export function richSpec(name: string, image: string, publishedPort: number): WorkloadSpec {
  return {
    name,
    image,
    args: ["redis-server", "--port", "6390", "--save", ""],
    env: [
      { name: "GREETING", value: "two words = one 'greeting'" },
      { name: "EMPTY", value: "" },
      { name: "UMS_LOG_LEVEL", value: "debug" },
    ],
    ports: [
      { port: 6390, protocol: "tcp", published: publishedPort },
      { port: 6391, protocol: "udp" },
    ],
    mounts: [
      { kind: "volume", source: `${name}-data`, target: "/data", isReadOnly: false },
      { kind: "volume", source: `${name}-given`, target: "/given", isReadOnly: true },
      { kind: "tmpfs", source: "", target: "/cache", isReadOnly: false, sizeBytes: 16 * 2 ** 20 },
    ],
    resources: {
      memoryBytes: 768 * 2 ** 20,
      cpus: 1.5,
      pids: 3000,
      shmBytes: 96 * 2 ** 20,
    },
    labels: { "com.example.team": "blue", tier: "cache" },
    probes: {
      liveness: { action: { kind: "tcp", port: 6390 }, periodMs: 20_000, failureThreshold: 4 },
      readiness: {
        action: { kind: "exec", command: ["ums", "status"] },
        periodMs: 25_000,
        timeoutMs: 7_000,
        initialDelayMs: 90_000,
        failureThreshold: 5,
      },
      startup: { action: { kind: "http", path: "/x", port: 8080, isHttps: false } },
    },
    restart: { policy: "on-failure", maxRetries: 4 },
    hostname: "cache-one",
    user: "1000:1000",
    workingDir: "/data",
    isReadOnlyRoot: true,
    dns: { servers: ["192.0.2.53"], searches: ["example.com"], options: ["ndots:3"] },
    extraHosts: { "db.example.com": "192.0.2.9" },
    ulimits: [{ name: "nofile", soft: 10_000, hard: 12_000 }],
    sysctls: { "net.core.somaxconn": "777" },
    stopSignal: "SIGINT",
    stopTimeoutMs: 25_000,
    isTty: true,
    hasStdin: true,
  };
}

/**
 * Every setting of a specification by its path, as `untranslatable()` names it, with a way to take
 * it out. Elements of lists are named by what tells them apart: `env.NAME`, `mounts./data`,
 * `ports.6379/tcp`, `ulimits.nofile`; parts of them follow: `mounts./data.sizeBytes`.
 */
export function settingsOf(spec: WorkloadSpec): Map<string, () => void> {
  const settings = new Map<string, () => void>();
  const plain = plainSpec(spec.name, spec.image) as unknown as Record<string, unknown>;
  const fields = spec as unknown as Record<string, unknown>;
  for (const [field, value] of Object.entries(fields)) {
    if (field === "name" || field === "image") continue;
    settings.set(field, () => {
      if (field in plain) fields[field] = structuredClone(plain[field]);
      else delete fields[field];
    });
    if (Array.isArray(value) && field in elementNames) addElements(settings, fields, field);
    else if (isRecord(value)) addParts(settings, value, field);
  }
  return settings;
}

/** A copy of `spec` without the named settings. @throws when one is no setting of it */
export function without(spec: WorkloadSpec, names: readonly string[]): WorkloadSpec {
  const copy = structuredClone(spec);
  const settings = settingsOf(copy);
  for (const name of names) {
    const remove = settings.get(name);
    if (remove === undefined) throw new Error(`untranslatable() names ${name}: no such setting`);
    remove();
  }
  return copy;
}

const elementNames: Record<string, (element: Record<string, unknown>) => string> = {
  env: ({ name }) => String(name),
  ports: ({ port, protocol }) => `${port}/${protocol}`,
  mounts: ({ target }) => String(target),
  ulimits: ({ name }) => String(name),
};

/** Fields without which an element or a probe is none. */
const essential = new Set(["name", "value", "port", "protocol", "kind", "source", "target"]);

function addElements(
  settings: Map<string, () => void>,
  fields: Record<string, unknown>,
  field: string,
): void {
  for (const element of fields[field] as Record<string, unknown>[]) {
    const path = `${field}.${elementNames[field]?.(element)}`;
    settings.set(path, () => {
      fields[field] = (fields[field] as unknown[]).filter((other) => other !== element);
    });
    addParts(settings, element, path);
  }
}

function addParts(
  settings: Map<string, () => void>,
  record: Record<string, unknown>,
  path: string,
): void {
  for (const [key, value] of Object.entries(record)) {
    if (essential.has(key) || key === "action" || key === "policy") continue;
    const isRequired = Array.isArray(value) || typeof value === "boolean";
    settings.set(`${path}.${key}`, () => {
      if (Array.isArray(value)) record[key] = [];
      else if (typeof value === "boolean") record[key] = false;
      else delete record[key];
    });
    if (!isRequired && isRecord(value)) addParts(settings, value, `${path}.${key}`);
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
