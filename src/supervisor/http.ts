import fastify from "fastify";
import { collectDefaultMetrics, Gauge, Registry } from "prom-client";
import { serveWhereabouts, type WhereaboutsRoute } from "./where-http.js";

/** One answer of a probe. */
export interface Check {
  name: string;
  isGood: boolean;
  detail: string;
}

export interface HttpOptions {
  port: number;
  /** What has to be good for the outer container to be ready. */
  readiness(): Promise<Check[]>;
  /** The service's own health: what the image's HEALTHCHECK reports. */
  health(): Promise<Check[]>;
  /** Starts of a dead inner dockerd. */
  daemonRestarts(): number;
  whereabouts: WhereaboutsRoute;
}

export interface HttpServer {
  /** Further metrics are registered here. */
  registry: Registry;
  close(): Promise<void>;
}

const requestTimeoutMs = 10_000;

/**
 * Serves /livez, /readyz, /health, /metrics and /v1/service without authentication: read only, nothing
 * secret, as kubelets and Prometheus expect. Probes answer 200 or 503, one line a check.
 */
export async function openHttpServer(options: HttpOptions): Promise<HttpServer> {
  const registry = createRegistry(options);
  const server = fastify({ requestTimeout: requestTimeoutMs, forceCloseConnections: true });
  const probes: Record<string, () => Promise<Check[]>> = {
    "/livez": async () => [{ name: "supervisor", isGood: true, detail: "alive" }],
    "/readyz": options.readiness,
    "/health": options.health,
  };
  for (const [path, probe] of Object.entries(probes)) {
    server.get(path, async (_, reply) => {
      const checks = await probe();
      const isGood = checks.every((check) => check.isGood);
      const lines = checks.map(
        ({ name, isGood: good, detail }) => `${good ? "+" : "-"} ${name}: ${detail}`,
      );
      return await reply
        .status(isGood ? 200 : 503)
        .type("text/plain; charset=utf-8")
        .send(`${lines.join("\n")}\n`);
    });
  }
  server.get("/metrics", async (_, reply) =>
    reply.type(registry.contentType).send(await registry.metrics()),
  );
  serveWhereabouts(server, options.whereabouts);
  await server.listen({ port: options.port, host: "0.0.0.0" });
  return { registry, close: () => server.close() };
}

function createRegistry(options: HttpOptions): Registry {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry, prefix: "ums_supervisor_" });
  new Gauge({
    name: "ums_inner_dockerd_restarts",
    help: "Starts of the inner dockerd after it had died, since this supervisor began.",
    registers: [registry],
    collect() {
      this.set(options.daemonRestarts());
    },
  });
  new Gauge({
    name: "ums_ready",
    help: "1 when every readiness check is good.",
    registers: [registry],
    async collect() {
      this.set((await options.readiness()).every(({ isGood }) => isGood) ? 1 : 0);
    },
  });
  return registry;
}

/** A migration that waits for its other side, which Prometheus can alert on by its age. */
export function addDoubtMetrics(registry: Registry, seconds: () => number, isIn: () => boolean) {
  new Gauge({
    name: "ums_migration_in_doubt",
    help: "1 while nobody runs the service and a migration waits for its other side.",
    registers: [registry],
    collect() {
      this.set(isIn() ? 1 : 0);
    },
  });
  new Gauge({
    name: "ums_migration_in_doubt_seconds",
    help: "How long that has lasted; 0 without a doubt.",
    registers: [registry],
    collect() {
      this.set(seconds());
    },
  });
}
