/** Every setting of a Coordinator, in one table: check, default, error text, documentation. */
import { type Static, Type } from "@sinclair/typebox";
import { Value } from "@sinclair/typebox/value";
import { UmsError } from "../errors.js";
import { isPeerName } from "../peer/names.js";

const optional = (description: string) => Type.Optional(Type.String({ minLength: 1, description }));

export const coordinatorSchema = Type.Object({
  UMS_COORDINATOR_SYSTEM: Type.String({
    minLength: 1,
    description:
      "Name of this computing system; the Coordinator's certificate is an operator's of this name.",
  }),
  UMS_COORDINATOR_ORCHESTRATOR: Type.Union(
    ["docker"].map((kind) => Type.Literal(kind)),
    { default: "docker", description: "Its orchestrator: `docker`." },
  ),
  UMS_COORDINATOR_ORCHESTRATOR_ADDRESS: optional(
    "Address of the orchestrator's API, e.g. `unix:///var/run/docker.sock`. Default: the kind's own.",
  ),
  UMS_COORDINATOR_HOST: optional(
    "Address or name of this machine, at which outer containers with published ports are reached.",
  ),
  UMS_COORDINATOR_OUTER_PORTS: Type.Optional(
    Type.String({
      pattern: "^\\d{1,5}-\\d{1,5}$",
      description:
        "Ports of this machine that outer containers take for their supervisors, three each, `FIRST-LAST`; with UMS_COORDINATOR_HOST. Default: none, they are reached at their own addresses.",
    }),
  ),
  UMS_COORDINATOR_LISTEN: Type.String({
    pattern: "^(\\d{1,3}(\\.\\d{1,3}){3}|\\[[0-9a-fA-F:]+\\]|localhost):\\d{1,5}$",
    default: "0.0.0.0:9753",
    description: "Address and TCP port of the API and the page; port 0: any free one.",
  }),
  UMS_COORDINATOR_TLS_DIR: Type.String({
    default: "/etc/ums/tls",
    description: "Directory with ca.crt, tls.crt and tls.key (`ums pki issue SYSTEM --operator`).",
  }),
  UMS_COORDINATOR_TOKEN_FILE: optional(
    "File with the API token for people and the page, at least 16 characters.",
  ),
  UMS_COORDINATOR_SYSTEMS: Type.Array(
    Type.String({ pattern: "^[a-z0-9][a-z0-9.-]*=https?://[^/]+$" }),
    { default: [], description: "Other systems: `NAME=https://HOST:9753,...`." },
  ),
  UMS_COORDINATOR_STATE_DIR: Type.String({
    default: "/var/lib/ums-coordinator",
    description: "Directory of its records.",
  }),
  UMS_COORDINATOR_OUTER_TLS: Type.Optional(
    Type.String({
      pattern: "^(volume|bind|config):.+$",
      description:
        "TLS material of the outer containers it makes: `volume:NAME`, `bind:/PATH` or `config:NAME` (a secret), mounted at /etc/ums/tls.",
    }),
  ),
  UMS_COORDINATOR_OUTER_PEER_NAME: optional("Peer name in that certificate."),
  UMS_COORDINATOR_ALLOW_BINDS: Type.Array(Type.String({ pattern: "^/" }), {
    default: [],
    description:
      "Host directories below which arriving services may mount what they mounted before; others get an empty volume, which the migration fills.",
  }),
  UMS_COORDINATOR_INSECURE: Type.Boolean({
    default: false,
    description: "HTTP without any authentication, on a loopback address only. For trying out.",
  }),
  UMS_COORDINATOR_LOG_LEVEL: Type.Union(
    ["trace", "debug", "info", "warn", "error", "fatal"].map((level) => Type.Literal(level)),
    { default: "info", description: "Least severe line of its log." },
  ),
});

type Settings = Static<typeof coordinatorSchema>;
type SettingName = keyof Settings & string;

export interface KnownSystem {
  name: string;
  /** `https://host:port`, without a path. */
  url: string;
}

export interface OuterTls {
  kind: "volume" | "bind" | "config";
  source: string;
  peerName: string;
}

export interface CoordinatorConfig {
  system: string;
  orchestrator: { kind: "docker"; address?: string };
  host?: string;
  /** Of `host`, for the supervisors of new outer containers. */
  outerPorts?: { first: number; last: number };
  listen: { host: string; port: number };
  tlsDir: string;
  tokenFile?: string;
  systems: KnownSystem[];
  stateDir: string;
  outerTls?: OuterTls;
  allowedBinds: string[];
  isInsecure: boolean;
  logLevel: string;
}

const lists = new Set(["UMS_COORDINATOR_SYSTEMS", "UMS_COORDINATOR_ALLOW_BINDS"]);

/**
 * Reads the settings from an environment, in which flags stand as their variables. Empty counts as
 * not given.
 * @throws ERR_CONFIG_INVALID naming the variable
 */
export function loadCoordinatorConfig(env: NodeJS.ProcessEnv): CoordinatorConfig {
  const settings = {} as Record<string, unknown>;
  for (const [key, schema] of Object.entries(coordinatorSchema.properties)) {
    const name = key as SettingName;
    const text = env[name];
    const value = text === undefined || text === "" ? schema["default"] : convert(name, text);
    const isMissing = value === undefined && name !== "UMS_COORDINATOR_SYSTEM";
    const problem = isMissing ? undefined : Value.Errors(schema, value).First();
    if (problem !== undefined) throw invalid(name, text, schema.description ?? "");
    if (value !== undefined) settings[name] = value;
  }
  return check(settings as Settings);
}

/** One row a setting, for docs/coordinator.md. */
export function describeCoordinatorConfig(): { name: string; description: string }[] {
  return Object.entries(coordinatorSchema.properties).map(([name, { description }]) => ({
    name,
    description: description ?? "",
  }));
}

function check(settings: Settings): CoordinatorConfig {
  const system = settings.UMS_COORDINATOR_SYSTEM;
  if (!isPeerName(system)) {
    throw invalid("UMS_COORDINATOR_SYSTEM", system, "lower-case letters, digits, dots and dashes");
  }
  const listen = parseListen(settings.UMS_COORDINATOR_LISTEN);
  const isInsecure = settings.UMS_COORDINATOR_INSECURE;
  const isLoopback = /^(127\.|::1$|localhost$)/.test(listen.host);
  if (isInsecure && !isLoopback) {
    throw invalid("UMS_COORDINATOR_INSECURE", "true", `${listen.host} is not a loopback address`);
  }
  const tls = settings.UMS_COORDINATOR_OUTER_TLS;
  const peerName = settings.UMS_COORDINATOR_OUTER_PEER_NAME;
  if ((tls === undefined) !== (peerName === undefined)) {
    const name = "UMS_COORDINATOR_OUTER_PEER_NAME";
    throw invalid(name, peerName, "it goes with UMS_COORDINATOR_OUTER_TLS: both or none");
  }
  const address = settings.UMS_COORDINATOR_ORCHESTRATOR_ADDRESS;
  const tokenFile = settings.UMS_COORDINATOR_TOKEN_FILE;
  const host = settings.UMS_COORDINATOR_HOST;
  const outerPorts = parsePorts(settings.UMS_COORDINATOR_OUTER_PORTS, host);
  return {
    system,
    orchestrator: {
      kind: settings.UMS_COORDINATOR_ORCHESTRATOR as "docker",
      ...(address === undefined ? {} : { address }),
    },
    ...(host === undefined ? {} : { host }),
    ...(outerPorts === undefined ? {} : { outerPorts }),
    listen,
    tlsDir: settings.UMS_COORDINATOR_TLS_DIR,
    ...(tokenFile === undefined ? {} : { tokenFile }),
    systems: settings.UMS_COORDINATOR_SYSTEMS.map((text) => parseSystem(text, system, isInsecure)),
    stateDir: settings.UMS_COORDINATOR_STATE_DIR,
    ...(tls === undefined || peerName === undefined ? {} : { outerTls: parseTls(tls, peerName) }),
    allowedBinds: settings.UMS_COORDINATOR_ALLOW_BINDS,
    isInsecure,
    logLevel: settings.UMS_COORDINATOR_LOG_LEVEL as string,
  };
}

function convert(name: string, text: string): unknown {
  if (lists.has(name)) return text.split(",").map((part) => part.trim());
  if (name === "UMS_COORDINATOR_INSECURE") return text === "true" || text === "1" || undefined;
  return text;
}

function parsePorts(text: string | undefined, host: string | undefined) {
  if (text === undefined) return undefined;
  const variable = "UMS_COORDINATOR_OUTER_PORTS";
  const [first = 0, last = 0] = text.split("-").map(Number);
  if (first < 1 || last > 65_535 || last - first < 2) {
    throw invalid(variable, text, "three ports or more, 1 to 65535");
  }
  if (host === undefined) throw invalid(variable, text, "it goes with UMS_COORDINATOR_HOST");
  return { first, last };
}

function parseListen(text: string): { host: string; port: number } {
  const colon = text.lastIndexOf(":");
  const port = Number(text.slice(colon + 1));
  if (port > 65_535) throw invalid("UMS_COORDINATOR_LISTEN", text, "the port is at most 65535");
  return { host: text.slice(0, colon).replace(/^\[|\]$/g, ""), port };
}

function parseSystem(text: string, own: string, isInsecure: boolean): KnownSystem {
  const variable = "UMS_COORDINATOR_SYSTEMS";
  const equals = text.indexOf("=");
  const [name, url] = [text.slice(0, equals), text.slice(equals + 1)];
  if (name === own) throw invalid(variable, text, "it names this system itself");
  if (!URL.canParse(url)) throw invalid(variable, text, "it is not a URL");
  if (url.startsWith("http:") && !isInsecure) throw invalid(variable, text, "https is needed");
  return { name, url: new URL(url).origin };
}

function parseTls(text: string, peerName: string): OuterTls {
  if (!isPeerName(peerName)) {
    throw invalid("UMS_COORDINATOR_OUTER_PEER_NAME", peerName, "it cannot be the name of a peer");
  }
  const colon = text.indexOf(":");
  const kind = text.slice(0, colon) as OuterTls["kind"];
  return { kind, source: text.slice(colon + 1), peerName };
}

function invalid(name: SettingName, text: string | undefined, reason: string): UmsError {
  const shown = text === undefined ? `${name} is not set` : `${name}=${text} is not valid`;
  return new UmsError("ERR_CONFIG_INVALID", `${shown}: ${reason}`, {
    details: { variable: name },
    hint: `correct ${name} (docs/coordinator.md)`,
  });
}
