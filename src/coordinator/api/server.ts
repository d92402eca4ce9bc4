/** The Coordinator's web server: TLS, access, limits, errors, and the routes. */
import { readFileSync } from "node:fs";
import type { Server as TlsServer } from "node:tls";
import rateLimit from "@fastify/rate-limit";
import swagger from "@fastify/swagger";
import fastify, { type FastifyInstance } from "fastify";
import { UmsError } from "../../errors.js";
import type { Logger } from "../../lib/log.js";
import type { IdentityStore } from "../../peer/identity.js";
import { type Problem, toProblem } from "../problem.js";
import { arrivalRoutes } from "./arrival-routes.js";
import { authorize } from "./auth.js";
import type { ApiDeps } from "./deps.js";
import { healthRoutes } from "./health-routes.js";
import { migrationRoutes } from "./migration-routes.js";
import { pageRoutes } from "./page-routes.js";
import { problemSchema } from "./schemas.js";
import { serviceRoutes } from "./service-routes.js";

export interface ApiServer {
  /** With the port that was really taken. */
  url: string;
  close(): Promise<void>;
}

export interface ApiOptions extends ApiDeps {
  listen: { host: string; port: number };
  identity: IdentityStore | undefined;
  tokenFile: string | undefined;
}

/** A specification with all mounts and labels is some kilobytes. */
const bodyLimitBytes = 1024 * 1024;
const requestTimeoutMs = 30_000;
/** From one address: pages, polls of arrivals and events of some migrations at once stay below. */
const requestsPerMinute = 1_200;
const certificateCheckMs = 60_000;

export async function openApi(options: ApiOptions): Promise<ApiServer> {
  const { identity, listen } = options;
  const app = createApp(identity);
  const token = readToken(options.tokenFile);
  const auth = { identity, token, knownSystems: options.peers.names() };
  app.decorateRequest("principal");
  await app.register(swagger, { openapi: openApiInfo(options.version) });
  await app.register(rateLimit, {
    max: requestsPerMinute,
    timeWindow: 60_000,
    errorResponseBuilder: () => new UmsError("ERR_NO_ROOM", "too many requests; slow down"),
  });
  app.addSchema(problemSchema);
  app.addHook("onRequest", async (request) => {
    if (identity === undefined) checkLocalName(request.hostname);
    request.principal = authorize(request, auth);
  });
  app.removeContentTypeParser("text/plain");
  // Answers are what they are; their schemas are for the document, and tests compare the two.
  app.setSerializerCompiler(() => JSON.stringify);
  handleErrors(app, options.log);
  const closers = [
    migrationRoutes(app, options),
    serviceRoutes(app, options),
    arrivalRoutes(app, options),
    healthRoutes(app, options),
  ];
  await pageRoutes(app);
  await app.listen(listen);
  const renewal = renewCertificates(app, identity);
  return {
    url: urlOf(app, identity !== undefined, listen.host),
    async close() {
      clearInterval(renewal);
      for (const close of closers) close?.();
      await app.close();
    },
  };
}

function createApp(identity: IdentityStore | undefined): FastifyInstance {
  const options = {
    bodyLimit: bodyLimitBytes,
    requestTimeout: requestTimeoutMs,
    forceCloseConnections: true,
    routerOptions: { maxParamLength: 300 },
    // Strict: a misspelt field is told, not dropped, and nothing is turned into another type.
    ajv: { customOptions: { removeAdditional: false, coerceTypes: false, allErrors: false } },
  } as const;
  if (identity === undefined) return fastify(options);
  return fastify({ ...options, https: tlsOptions(identity) }) as unknown as FastifyInstance;
}

/** Callers without a certificate may have the token; whoever shows one is checked in auth.ts. */
function tlsOptions(identity: IdentityStore) {
  const { ca, cert, key } = identity.current();
  return {
    ca,
    cert,
    key,
    requestCert: true,
    rejectUnauthorized: false,
    minVersion: "TLSv1.3" as const,
  };
}

/** Renewed files are used for new connections without a restart. */
function renewCertificates(app: FastifyInstance, identity: IdentityStore | undefined) {
  if (identity === undefined) return undefined;
  let used = identity.current();
  const check = () => {
    const now = identity.current();
    if (now === used) return;
    used = now;
    (app.server as unknown as TlsServer).setSecureContext(tlsOptions(identity));
  };
  return setInterval(check, certificateCheckMs).unref();
}

function handleErrors(app: FastifyInstance, log: Logger): void {
  app.setErrorHandler(
    async (thrown: Error & { code?: string; statusCode?: number }, request, reply) => {
      const problem = problemOf(thrown);
      if (problem.status === 500) {
        log.error({ err: thrown, method: request.method, path: request.routeOptions.url }, "bug");
      }
      return reply.status(problem.status).type("application/problem+json").send(problem);
    },
  );
  app.setNotFoundHandler(async (request, reply) => {
    const error = new UmsError("ERR_SPEC_INVALID", `there is no ${request.method} of this path`, {
      hint: "GET /openapi.json lists what there is",
    });
    const problem = { ...toProblem(error), status: 404 };
    return reply.status(404).type("application/problem+json").send(problem);
  });
}

/** The framework's own errors are the request's fault, and get the status it gives them. */
export function problemOf(thrown: Error & { code?: string; statusCode?: number }): Problem {
  if (thrown instanceof UmsError) {
    const problem = toProblem(thrown);
    if (thrown.code === "ERR_PEER_UNTRUSTED" && thrown.hint?.includes("API token")) {
      return { ...problem, status: 401 };
    }
    return thrown.code === "ERR_NO_ROOM" && thrown.message.startsWith("too many")
      ? { ...problem, status: 429 }
      : problem;
  }
  const { statusCode = 500 } = thrown;
  if (statusCode >= 500) return toProblem(thrown);
  const code = statusCode === 413 || statusCode === 429 ? "ERR_NO_ROOM" : "ERR_SPEC_INVALID";
  return { ...toProblem(new UmsError(code, thrown.message)), status: statusCode };
}

/** A name that an attacker's name server lets point to loopback must not open an insecure API. */
function checkLocalName(hostname: string): void {
  if (/^(localhost|127(\.\d+){3}|\[?::1\]?)(:\d+)?$/.test(hostname)) return;
  throw new UmsError("ERR_PEER_IDENTITY", `this Coordinator is not called "${hostname}"`, {
    hint: "without authentication it answers on a loopback address only",
  });
}

/** @throws ERR_CONFIG_INVALID when it cannot be read or is too short to be a secret */
function readToken(file: string | undefined): string | undefined {
  if (file === undefined) return undefined;
  try {
    const token = readFileSync(file, "utf8").trim();
    if (token.length >= 16 && !/\s/.test(token)) return token;
  } catch (cause) {
    throw new UmsError("ERR_CONFIG_INVALID", `the token file ${file} cannot be read`, { cause });
  }
  throw new UmsError("ERR_CONFIG_INVALID", `the token in ${file} is not one`, {
    hint: "at least 16 characters without spaces, e.g. of: openssl rand -hex 32",
  });
}

function urlOf(app: FastifyInstance, isSecure: boolean, host: string): string {
  const address = app.server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  const shown = host.includes(":") ? `[${host}]` : host;
  return `${isSecure ? "https" : "http"}://${shown}:${port}`;
}

function openApiInfo(version: string) {
  return {
    openapi: "3.1.0",
    info: {
      title: "UMS Coordinator",
      version,
      description: "Moves services, live, to other computing systems. See docs/coordinator.md.",
    },
    components: {
      securitySchemes: {
        token: { type: "http" as const, scheme: "bearer" },
        // Of OpenAPI 3.1; the plugin's types know those of 3.0.
        certificate: { type: "mutualTLS" } as unknown as { type: "http"; scheme: string },
      },
    },
    security: [{ token: [] as string[] }, { certificate: [] as string[] }] as Record<
      string,
      string[]
    >[],
  };
}
