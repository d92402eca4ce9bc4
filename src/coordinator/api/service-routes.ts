/** /v1/services, /v1/systems, /v1/evacuations. */
import { Type } from "@sinclair/typebox";
import type { FastifyInstance } from "fastify";
import { UmsError } from "../../errors.js";
import { within } from "../../lib/deadline.js";
import type { Workload } from "../../orchestrators/contract.js";
import type { EvacuationOrder } from "../decisions/evacuations.js";
import { toProblem } from "../problem.js";
import type { ApiDeps } from "./deps.js";
import { responses } from "./responses.js";
import { oneOf, serviceSchema, systemSchema } from "./schemas.js";
import { serviceView } from "./views.js";

/** Outer containers asked at the same time. */
const parallel = 8;
const maxServices = 500;
const askSystemMs = 12_000;

const destination = Type.Object(
  { to: Type.Optional(Type.String({ maxLength: 63, description: "Plan for this destination." })) },
  { additionalProperties: false },
);

const evacuationSchema = Type.Object({
  migrationId: Type.String(),
  state: oneOf(["moving", "moved", "failed"]),
  reason: Type.Optional(Type.String()),
});

export function serviceRoutes(app: FastifyInstance, deps: ApiDeps): undefined {
  const { orchestrator, survey } = deps;
  const view = async (workload: Workload, to: string | undefined) =>
    serviceView(workload, await survey.inputFor(workload, to));

  app.get<{ Querystring: { to?: string } }>(
    "/v1/services",
    {
      schema: {
        tags: ["services"],
        summary: "Services of this system, and whether they can migrate",
        querystring: destination,
        response: responses({ 200: Type.Array(serviceSchema) }, 400, 404, 502, 503, 504),
      },
    },
    async ({ query }) => {
      const workloads = (await orchestrator.list()).slice(0, maxServices);
      const views: Awaited<ReturnType<typeof view>>[] = [];
      for (let start = 0; start < workloads.length; start += parallel) {
        const some = workloads.slice(start, start + parallel);
        views.push(...(await Promise.all(some.map((workload) => view(workload, query.to)))));
      }
      return views;
    },
  );

  app.get<{ Params: { "*": string }; Querystring: { to?: string } }>(
    // Names of some orchestrators hold slashes (`namespace/name`).
    "/v1/services/*",
    {
      schema: {
        tags: ["services"],
        summary: "One service, by name or id",
        params: Type.Object({ "*": Type.String({ minLength: 1, maxLength: 300 }) }),
        querystring: destination,
        response: responses({ 200: serviceSchema }, 400, 404, 502, 503, 504),
      },
    },
    async ({ params, query }) => view(await orchestrator.read(params["*"]), query.to),
  );

  app.get(
    "/v1/systems",
    {
      schema: {
        tags: ["systems"],
        summary: "This system and those it knows",
        response: responses({ 200: Type.Array(systemSchema) }),
      },
    },
    async () => {
      const { peers, system } = deps;
      const own = describe(system, true, () => describeSelf(deps));
      const others = peers
        .names()
        .map((name) => describe(name, false, () => peers.to(name).describe()));
      return Promise.all([own, ...others]);
    },
  );

  app.post<{ Body: EvacuationOrder }>(
    "/v1/evacuations",
    {
      config: { access: "outer" },
      schema: {
        tags: ["evacuations"],
        summary: "An outer container that must end asks to save its service",
        body: Type.Object(
          {
            serviceId: Type.String({ minLength: 1, maxLength: 100 }),
            evacuateTo: Type.String({ minLength: 1, maxLength: 63 }),
            graceMs: Type.Integer({ minimum: 1, maximum: 3_600_000 }),
          },
          { additionalProperties: false },
        ),
        response: responses({ 202: evacuationSchema }, 400, 404, 409, 502, 503, 504),
      },
    },
    async ({ body, principal }, reply) =>
      reply.status(202).send(await deps.evacuations.begin(body, principal.name)),
  );

  app.get<{ Params: { id: string } }>(
    "/v1/evacuations/:id",
    {
      config: { access: "outer" },
      schema: {
        tags: ["evacuations"],
        summary: "How far it is",
        params: Type.Object({ id: Type.String({ pattern: "^[A-Za-z0-9-]{1,64}$" }) }),
        response: responses({ 200: evacuationSchema }, 400, 404),
      },
    },
    async ({ params, principal }) => deps.evacuations.get(params.id, principal.name),
  );
  return undefined;
}

interface Described {
  orchestrator: string;
  version: string;
  features: string[];
}

export async function describeSelf({ orchestrator, system: name }: ApiDeps) {
  const { version, features } = await orchestrator.describe();
  return { name, orchestrator: orchestrator.kind, version, features };
}

async function describe(name: string, isSelf: boolean, ask: () => Promise<Described>) {
  try {
    const answer = await within(askSystemMs, `the answer of ${name}`, ask());
    const { orchestrator, version, features } = answer;
    return { name, isSelf, reachable: true, orchestrator, version, features };
  } catch (thrown) {
    return { name, isSelf, reachable: false, problem: toProblem(UmsError.from(thrown)) };
  }
}
