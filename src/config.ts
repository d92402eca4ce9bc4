/**
 * Every `UMS_*` variable, in one table: the schema gives the check, the default, the error text and
 * the documentation (`describeConfig`).
 */
import { isIPv4, isIPv6 } from "node:net";
import { FormatRegistry, type Static, type TSchema, Type } from "@sinclair/typebox";
import { Value } from "@sinclair/typebox/value";
import { UmsError } from "./errors.js";

const port = (defaultPort: number, description: string) =>
  Type.Integer({ minimum: 1, maximum: 65_535, default: defaultPort, description });

const optionalString = (description: string) =>
  Type.Optional(Type.String({ minLength: 1, description }));

const ipAddress = (format: "ipv4" | "ipv6") => Type.String({ format });
FormatRegistry.Set("ipv4", isIPv4);
FormatRegistry.Set("ipv6", isIPv6);
const portModesPattern = "^(\\d{1,5}=(hold|retry|redirect|forward)(\\s*,\\s*|$))*$";
const namePattern = Type.String({ pattern: "^!?[a-z0-9.*-]+$" });

/** Variable -> schema. Lists are comma separated, except commands, which are JSON arrays. */
export const configSchema = Type.Object({
  UMS_IMAGE: optionalString("Image of the nested service; pulled unless the inner engine has it."),
  UMS_START_MODE: Type.Union([Type.Literal("active"), Type.Literal("passive")], {
    default: "active",
    description: "`active` runs the service; `passive` stands by to receive one.",
  }),
  UMS_SERVICE_NAME: optionalString("Name of the service. Default: the hostname."),
  UMS_ENTRYPOINT: Type.Optional(
    Type.Array(Type.String(), { description: "Entrypoint instead of the image's, a JSON array." }),
  ),
  UMS_COMMAND: Type.Optional(
    Type.Array(Type.String(), {
      description: "Command instead of the image's, a JSON array; arguments win over it.",
    }),
  ),
  UMS_USER: optionalString("User of the nested service, `name|uid[:group|gid]`."),
  UMS_WORKING_DIR: optionalString("Working directory of the nested service."),
  UMS_STOP_TIMEOUT: Type.Number({
    minimum: 0,
    maximum: 86_400,
    default: 30,
    description: "Seconds between the stop signal and SIGKILL.",
  }),
  UMS_LOG_LEVEL: Type.Union(
    ["trace", "debug", "info", "warn", "error", "fatal"].map((level) => Type.Literal(level)),
    { default: "info", description: "Least severe line of the supervisor's own log." },
  ),
  UMS_TLS_DIR: Type.String({
    default: "/etc/ums/tls",
    description: "Directory with ca.crt, tls.crt and tls.key of this peer.",
  }),
  UMS_STATE_DIR: Type.String({
    default: "/var/lib/ums",
    description: "Directory of the journal and the service's specification.",
  }),
  UMS_ALLOW_FROM: Type.Array(namePattern, {
    default: [],
    description:
      "Peers that may migrate here without a token: names, `*` for any characters, `!` excludes.",
  }),
  UMS_ALLOW_TO: Type.Array(namePattern, {
    default: ["*"],
    description: "Peers this outer container may migrate to, as above.",
  }),
  UMS_ALLOW_OPERATORS: Type.Array(namePattern, {
    default: ["*"],
    description: "Operators whose certificate gives orders here over the network, as above.",
  }),
  UMS_PEER_PORT: port(9750, "TCP port of the Migration Interface (gRPC)."),
  UMS_HTTP_PORT: port(9751, "TCP port of /livez, /readyz, /health and /metrics."),
  UMS_DATA_PORT: port(9752, "TCP port of the data channel."),
  UMS_SUBNET: Type.String({
    default: "10.209.0.0/29",
    pattern: "^(\\d{1,3}\\.){3}\\d{1,3}/(\\d|[12]\\d|30)$",
    description: "Inner network. The gateway takes its first address, the service its second.",
  }),
  UMS_ENV: Type.String({
    default: "*",
    description: "Which variables reach the service: patterns, `!` excludes, e.g. `*,!SECRET_*`.",
  }),
  UMS_MEMORY: Type.Optional(
    Type.Integer({ minimum: 6 * 1024 * 1024, description: "Memory limit, bytes or 512m, 2g." }),
  ),
  UMS_CPUS: Type.Optional(Type.Number({ exclusiveMinimum: 0, description: "CPU limit, CPUs." })),
  UMS_SHM_SIZE: Type.Optional(
    Type.Integer({ minimum: 1, description: "Size of /dev/shm, bytes or 64m. Default: as outer." }),
  ),
  UMS_CAP_ADD: Type.Array(Type.String({ pattern: "^[A-Z_]+$" }), {
    default: [],
    description: "Capabilities beyond the engine's default set, without `CAP_`.",
  }),
  UMS_CAP_DROP: Type.Array(Type.String({ pattern: "^[A-Z_]+$" }), {
    default: [],
    description: "Capabilities taken from the engine's default set; `ALL` takes all.",
  }),
  UMS_READ_ONLY: Type.Boolean({
    default: false,
    description: "Root file system of the service is read-only.",
  }),
  UMS_REGISTRY_MIRROR: optionalString("Registry mirror of the inner engine, a URL."),
  UMS_REGISTRY_CONFIG: Type.String({
    default: "/etc/ums/registry/config.json",
    description: "Docker configuration file with registry credentials; may be absent.",
  }),
  UMS_DNS_NAME: optionalString(
    "DNS name of the service, made to show this outer container after a migration to it.",
  ),
  UMS_DNS_SERVER: optionalString("Primary name server of the zone, `host[:port]`."),
  UMS_DNS_ZONE: optionalString("Zone of the name. Default: the name without its first label."),
  UMS_DNS_TTL: Type.Integer({
    minimum: 0,
    maximum: 604_800,
    default: 30,
    description: "Seconds clients may keep the answer.",
  }),
  UMS_DNS_TSIG_FILE: optionalString("File with the TSIG key, as tsig-keygen writes it."),
  UMS_DNS_ADDRESS: Type.Array(Type.Union([ipAddress("ipv4"), ipAddress("ipv6")]), {
    default: [],
    maxItems: 4,
    description:
      "Addresses at which clients reach this outer container. Default: its own first IPv4 address.",
  }),
  UMS_WEBHOOK_URL: Type.Optional(
    Type.String({ pattern: "^https?://", description: "URL told of each service that arrived." }),
  ),
  UMS_WEBHOOK_SECRET_FILE: optionalString("File with the secret that signs what is told."),
  UMS_FRONTMAN: Type.Optional(
    Type.String({
      pattern: portModesPattern,
      description:
        "What clients meet at a port while the service moves and after it: `PORT=MODE,...` with" +
        " `hold`, `retry`, `redirect` or `forward`. Default: `hold` for every port.",
    }),
  ),
  UMS_PUBLIC_ENDPOINT: optionalString(
    "How clients reach the service here: `[https://]HOST[,PORT=PUBLISHED]...`." +
      " Default: this outer container's host, the same ports.",
  ),
  UMS_LIVENESS_PATH: Type.Array(Type.String({ pattern: "^/\\S*$" }), {
    default: [],
    description:
      "Paths that ports of UMS_FRONTMAN (not `hold`) answer with 200 while the service moves.",
  }),
  UMS_READINESS_PATH: Type.Array(Type.String({ pattern: "^/\\S*$" }), {
    default: [],
    description:
      "Paths that ports of UMS_FRONTMAN (not `hold`) answer with 503 while the service moves.",
  }),
  UMS_HOLD_TIMEOUT: Type.Number({
    minimum: 0,
    maximum: 86_400,
    default: 60,
    description: "Seconds that a connection to a port of UMS_FRONTMAN waits for the service.",
  }),
  UMS_RETRY_AFTER: Type.Integer({
    minimum: 1,
    maximum: 86_400,
    default: 1,
    description: "Seconds after which HTTP clients are asked to come again.",
  }),
  UMS_DISPOSAL_DNS_NAME: optionalString(
    "The outer container ends, its service gone, when this name shows the new endpoint alone" +
      " and its TTL has passed.",
  ),
  UMS_DISPOSAL_IDLE: Type.Optional(
    Type.Number({
      minimum: 0,
      description:
        "The outer container ends, its service gone, after so many seconds without a connection.",
    }),
  ),
  UMS_DISPOSAL_DEADLINE: Type.Optional(
    Type.Number({
      minimum: 0,
      description: "The outer container ends so many seconds after its service has gone.",
    }),
  ),
  UMS_COORDINATOR: Type.Optional(
    Type.String({
      pattern: "^https://[^/]+$",
      description: "Coordinator of this computing system, `https://host:9753`.",
    }),
  ),
  UMS_EVACUATE_TO: optionalString(
    "Computing system to which the service is migrated when this outer container is asked to stop.",
  ),
  UMS_EVACUATE_TIMEOUT: Type.Number({
    minimum: 1,
    maximum: 3_600,
    default: 60,
    description: "Seconds the evacuation may take; then the service is stopped.",
  }),
  UMS_TEST_FAULTS: optionalString(
    "For tests of UMS alone: a directory of fault points (src/lib/faults.ts).",
  ),
});

export type Config = Static<typeof configSchema>;

/** Schemas of comma separated variables; the other arrays are JSON. */
const commaSeparated = new Set([
  "UMS_CAP_ADD",
  "UMS_CAP_DROP",
  "UMS_DNS_ADDRESS",
  "UMS_LIVENESS_PATH",
  "UMS_READINESS_PATH",
  "UMS_ALLOW_FROM",
  "UMS_ALLOW_TO",
  "UMS_ALLOW_OPERATORS",
]);
/** Variables that take `k`, `m` and `g` (powers of 1024). */
const byteSizes = new Set(["UMS_MEMORY", "UMS_SHM_SIZE"]);

/**
 * Reads the configuration from an environment. An empty value counts as not given, as compose
 * files pass unset variables.
 * @throws ERR_CONFIG_INVALID naming the variable
 */
export function loadConfig(env: NodeJS.ProcessEnv): Config {
  const config: Record<string, unknown> = {};
  for (const [name, schema] of Object.entries(configSchema.properties)) {
    const text = env[name];
    const value = text === undefined || text === "" ? defaultOf(schema) : parse(name, schema, text);
    if (value !== undefined) config[name] = value;
  }
  return config as Config;
}

/** One row a variable, for the reference page and `ums config`. */
export function describeConfig(): { name: string; default: string; description: string }[] {
  return Object.entries(configSchema.properties).map(([name, schema]) => ({
    name,
    default: schema["default"] === undefined ? "" : JSON.stringify(schema["default"]),
    description: schema.description ?? "",
  }));
}

/** `DOCKER_HOST` as the client tools understand it, for the verbs that run beside an engine. */
export function hostEngineAddress(env: NodeJS.ProcessEnv): string {
  return env["DOCKER_HOST"] || "unix:///var/run/docker.sock";
}

function defaultOf(schema: TSchema): unknown {
  return structuredClone(schema["default"]);
}

function parse(name: string, schema: TSchema, text: string): unknown {
  const value = convert(name, schema, text);
  const problem = Value.Errors(schema, value).First();
  if (problem !== undefined) {
    throw invalid(name, text, `${problem.message.toLowerCase()}. ${schema.description ?? ""}`);
  }
  return value;
}

function convert(name: string, schema: TSchema, text: string): unknown {
  if (commaSeparated.has(name)) return text.split(",").map((part) => part.trim());
  if (byteSizes.has(name)) return parseBytes(text);
  switch (schema["type"]) {
    case "array":
      return parseJson(name, text);
    case "boolean":
      return Value.Convert(schema, text);
    case "integer":
    case "number":
      return Number(text);
    default:
      return text;
  }
}

/** Bytes of `512m`, `2g`, or a plain number; NaN when it is neither. */
export function parseBytes(text: string): number {
  const match = /^(\d+)([bkmg]?)$/i.exec(text);
  if (match === null) return Number.NaN;
  const exponent = { "": 0, b: 0, k: 1, m: 2, g: 3 }[match[2]?.toLowerCase() ?? ""] ?? 0;
  return Number(match[1]) * 1024 ** exponent;
}

function parseJson(name: string, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw invalid(name, text, 'it must be a JSON array such as ["a","b"]', error);
  }
}

function invalid(name: string, text: string, reason: string, cause?: unknown): UmsError {
  return new UmsError("ERR_CONFIG_INVALID", `${name}=${text} is not valid: ${reason}`.trim(), {
    details: { variable: name },
    hint: `correct or remove ${name}`,
    cause,
  });
}
