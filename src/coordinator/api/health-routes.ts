/** /livez, /readyz, /metrics, /openapi.json: without authentication, nothing secret in them. */
import type { FastifyInstance } from "fastify";
import { collectDefaultMetrics, Gauge, Registry } from "prom-client";
import { UmsError } from "../../errors.js";
import { migrationStates } from "../migrations/record.js";
import type { ApiDeps } from "./deps.js";

const config = { access: "public" } as const;
const text = "text/plain; charset=utf-8";
const schema = (summary: string) => ({ schema: { tags: ["health"], summary, security: [] } });

export function healthRoutes(app: FastifyInstance, deps: ApiDeps): undefined {
  const registry = createRegistry(deps);
  app.get("/livez", { config, ...schema("200 while it lives") }, async (_, reply) =>
    reply.type(text).send("+ coordinator: alive\n"),
  );
  app.get("/readyz", { config, ...schema("200 when it can work, else 503") }, async (_, reply) => {
    const checks = [await orchestratorCheck(deps), recordsCheck(deps)];
    const lines = checks.map(({ isGood, line }) => `${isGood ? "+" : "-"} ${line}\n`);
    return reply
      .status(checks.every(({ isGood }) => isGood) ? 200 : 503)
      .type(text)
      .send(lines.join(""));
  });
  app.get("/metrics", { config, ...schema("For Prometheus") }, async (_, reply) =>
    reply.type(registry.contentType).send(await registry.metrics()),
  );
  app.get("/openapi.json", { config, ...schema("This document") }, async () => app.swagger());
  return undefined;
}

/** The code alone: this is for everybody. */
async function orchestratorCheck({ orchestrator }: ApiDeps) {
  try {
    await orchestrator.describe();
    return { isGood: true, line: `orchestrator: ${orchestrator.kind} answers` };
  } catch (thrown) {
    return { isGood: false, line: `orchestrator: ${UmsError.from(thrown).code}` };
  }
}

/** Damaged records are no reason to take the Coordinator out of service: told, not failed. */
function recordsCheck({ brokenRecords }: ApiDeps) {
  return { isGood: true, line: `records: ${brokenRecords.length} damaged` };
}

function createRegistry({ migrations, brokenRecords }: ApiDeps): Registry {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry, prefix: "ums_coordinator_" });
  new Gauge({
    name: "ums_coordinator_migrations",
    help: "Migrations by state, settled ones included as long as they are kept.",
    labelNames: ["state"],
    registers: [registry],
    collect() {
      for (const state of migrationStates) this.set({ state }, migrations.list(state).length);
    },
  });
  new Gauge({
    name: "ums_coordinator_broken_records",
    help: "Record files that were damaged at the start.",
    registers: [registry],
    collect() {
      this.set(brokenRecords.length);
    },
  });
  return registry;
}
