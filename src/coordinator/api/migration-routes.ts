/** /v1/migrations. */
import { Type } from "@sinclair/typebox";
import type { FastifyInstance, FastifyRequest } from "fastify";
import { UmsError } from "../../errors.js";
import type { MigrationRequest, MigrationState } from "../migrations/record.js";
import { migrationStates } from "../migrations/record.js";
import type { ApiDeps } from "./deps.js";
import { createEventStreams } from "./events.js";
import { responses } from "./responses.js";
import { migrationSchema, oneOf, requestSchema } from "./schemas.js";
import { migrationView } from "./views.js";

const idParams = Type.Object({ id: Type.String({ pattern: "^[A-Za-z0-9-]{1,64}$" }) });
const keyHeader = Type.Object({
  "idempotency-key": Type.Optional(
    Type.String({ minLength: 1, maxLength: 255, description: "The same key, the same migration." }),
  ),
});
const defaultLimit = 100;

export function migrationRoutes(app: FastifyInstance, deps: ApiDeps): () => void {
  const { migrations, decide } = deps;
  const streams = createEventStreams(migrations);
  const tags = ["migrations"];

  app.post<{ Body: MigrationRequest }>(
    "/v1/migrations",
    {
      schema: {
        tags,
        summary: "Move a service; answered at once, the work goes on",
        body: requestSchema,
        headers: keyHeader,
        response: responses({ 202: migrationSchema }, 400, 404, 409, 413, 502, 503, 504),
      },
    },
    async (request, reply) => {
      const order = decide.decide({ type: "requested", request: request.body });
      if (order === undefined) throw refused();
      const record = await migrations.create(order, callerOf(request));
      return reply
        .status(202)
        .header("location", `/v1/migrations/${record.id}`)
        .send(migrationView(record));
    },
  );

  app.get<{ Querystring: { state?: MigrationState; limit?: string } }>(
    "/v1/migrations",
    {
      schema: {
        tags,
        summary: "Migrations, newest first",
        querystring: Type.Object(
          {
            state: Type.Optional(oneOf(migrationStates)),
            limit: Type.Optional(
              Type.String({ pattern: "^([1-9]\\d?|[1-4]\\d\\d|500)$", description: "1 to 500." }),
            ),
          },
          { additionalProperties: false },
        ),
        response: responses({ 200: Type.Array(migrationSchema) }, 400),
      },
    },
    async ({ query }) =>
      migrations
        .list(query.state)
        .slice(0, Number(query.limit ?? defaultLimit))
        .map(migrationView),
  );

  app.get<{ Params: { id: string } }>(
    "/v1/migrations/:id",
    {
      schema: {
        tags,
        summary: "One migration",
        params: idParams,
        response: responses({ 200: migrationSchema }, 400, 404),
      },
    },
    async ({ params }) => migrationView(migrations.get(params.id)),
  );

  app.get<{ Params: { id: string } }>(
    "/v1/migrations/:id/events",
    {
      schema: {
        tags,
        summary: "Server-sent events: `state`, `progress`, `end`; Last-Event-ID resumes",
        params: idParams,
        response: responses(
          { 200: Type.String({ description: "text/event-stream; data is a migration." }) },
          400,
          404,
        ),
      },
    },
    (request, reply) => streams.open(migrations.get(request.params.id), request, reply),
  );

  app.post<{ Params: { id: string } }>(
    "/v1/migrations/:id/cancel",
    {
      schema: {
        tags,
        summary: "Call a migration off; the service stays where it is",
        params: idParams,
        response: responses({ 202: migrationSchema }, 400, 404, 409),
      },
    },
    async ({ params }, reply) =>
      reply.status(202).send(migrationView(await migrations.cancel(params.id))),
  );

  app.post<{ Params: { id: string } }>(
    "/v1/migrations/:id/retry",
    {
      schema: {
        tags,
        summary: "Begin anew what failed or was cancelled, as a new migration",
        params: idParams,
        headers: keyHeader,
        response: responses({ 202: migrationSchema }, 400, 404, 409, 502, 503, 504),
      },
    },
    async (request, reply) => {
      const record = await migrations.retry(request.params.id, callerOf(request));
      return reply
        .status(202)
        .header("location", `/v1/migrations/${record.id}`)
        .send(migrationView(record));
    },
  );
  return () => streams.close();
}

function callerOf({ principal, headers }: FastifyRequest) {
  const key = headers["idempotency-key"];
  return { name: principal.name, key: typeof key === "string" ? key : undefined };
}

function refused(): UmsError {
  return new UmsError(
    "ERR_REQUEST_CONFLICT",
    "this Coordinator's policy does not move the service",
  );
}
