/** What Coordinators ask of each other: /v1/arrivals, /v1/feasibility, /v1/system. */
import { Type } from "@sinclair/typebox";
import type { FastifyInstance } from "fastify";
import { UmsError } from "../../errors.js";
import type { WorkloadSpec } from "../../orchestrators/workload.js";
import type { ArrivalOrder } from "../peers.js";
import type { ApiDeps } from "./deps.js";
import { nothing, responses } from "./responses.js";
import { arrivalOrderSchema, arrivalSchema, feasibilitySchema } from "./schemas.js";
import { describeSelf } from "./service-routes.js";
import { specSchema } from "./spec-schema.js";

const params = Type.Object({ id: Type.String({ pattern: "^[A-Za-z0-9-]{8,64}$" }) });
const config = { access: "coordinator" } as const;
const tags = ["between Coordinators"];

export function arrivalRoutes(app: FastifyInstance, deps: ApiDeps): undefined {
  const { arrivals } = deps;

  app.put<{ Params: { id: string }; Body: ArrivalOrder }>(
    "/v1/arrivals/:id",
    {
      config,
      schema: {
        tags,
        summary: "Make an outer container for a migration; idempotent",
        params,
        body: arrivalOrderSchema,
        response: responses({ 200: arrivalSchema, 202: arrivalSchema }, 400, 409, 413),
      },
    },
    async ({ params: { id }, body, principal }, reply) => {
      if (body.from.system !== principal.name) {
        const message = `${principal.name} cannot ask for ${body.from.system}`;
        throw new UmsError("ERR_PEER_IDENTITY", message);
      }
      const view = await arrivals.put(id, principal.name, body);
      return reply.status(view.state === "creating" ? 202 : 200).send(view);
    },
  );

  app.get<{ Params: { id: string } }>(
    "/v1/arrivals/:id",
    {
      config,
      schema: {
        tags,
        summary: "How far it is",
        params,
        response: responses({ 200: arrivalSchema }, 400, 404),
      },
    },
    async ({ params: { id }, principal }) => arrivals.get(id, principal.name),
  );

  app.delete<{ Params: { id: string } }>(
    "/v1/arrivals/:id",
    {
      config,
      schema: {
        tags,
        summary: "Remove what was made; also when it has gone",
        params,
        response: responses({ 204: nothing }, 400, 409, 502, 503, 504),
      },
    },
    async ({ params: { id }, principal }, reply) => {
      await arrivals.delete(id, principal.name);
      return reply.status(204).send();
    },
  );

  app.post<{ Params: { id: string } }>(
    "/v1/arrivals/:id/keep",
    {
      config,
      schema: {
        tags,
        summary: "The service runs there: the arrival is over",
        params,
        response: responses({ 204: nothing }, 400, 404, 409, 503, 504),
      },
    },
    async ({ params: { id }, principal }, reply) => {
      await arrivals.keep(id, principal.name);
      return reply.status(204).send();
    },
  );

  app.put<{ Body: { spec: WorkloadSpec } }>(
    "/v1/feasibility",
    {
      config,
      schema: {
        tags,
        summary: "What would be lost of a service here, and facts of the machine; makes nothing",
        body: Type.Object({ spec: specSchema }, { additionalProperties: false }),
        response: responses({ 200: feasibilitySchema }, 400, 413, 503, 504),
      },
    },
    async ({ body: { spec } }) => {
      const facts = await deps.survey.ownFacts();
      return {
        orchestrator: deps.orchestrator.kind,
        untranslatable: arrivals.untranslatable(spec, spec.name),
        ...(facts === undefined ? {} : { facts }),
      };
    },
  );

  app.get(
    "/v1/system",
    {
      config,
      schema: {
        tags,
        summary: "This system's orchestrator",
        response: responses({ 200: Type.Unsafe({ type: "object" }) }, 503, 504),
      },
    },
    () => describeSelf(deps),
  );
  return undefined;
}
