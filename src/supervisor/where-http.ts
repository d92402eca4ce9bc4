/**
 * `GET /v1/service`: where the service is and how clients reach it. Nothing in it is secret: the
 * endpoint is what every client is told, and the state is what every client notices. It is
 * read-only and unauthenticated like the probes beside it, because who stands in for the service
 * holds no certificate.
 */
import { randomUUID } from "node:crypto";
import { Type } from "@sinclair/typebox";
import type { FastifyInstance } from "fastify";
import type { Whereabouts } from "../frontman/place.js";
import { serviceAnswerSchema } from "../frontman/supervisor.js";

export interface WhereaboutsRoute {
  where: Whereabouts;
  /** Of the service; empty while there is none. */
  name(): string;
  /** False while the supervisor has not found out yet: nobody shall take that for an answer. */
  isKnown(): boolean;
}

/** Questions that wait at a time. */
const maxWaiting = 64;
const maxWaitSeconds = 60;

const querySchema = Type.Object({
  known: Type.Optional(
    Type.String({ maxLength: 100, description: "Tag of the newest answer: waits for another." }),
  ),
  waitSeconds: Type.Integer({ minimum: 0, maximum: maxWaitSeconds, default: 20 }),
});

/** Serves it, and its JSON schema at `/v1/service/schema`. */
export function serveWhereabouts(
  server: FastifyInstance,
  { where, name, isKnown }: WhereaboutsRoute,
): void {
  // Another process's tags mean nothing here.
  const life = randomUUID();
  let changes = 0;
  let waiting = 0;
  where.subscribe(() => {
    changes += 1;
  });
  const tag = () => `${life}.${changes}`;
  const answer = () => {
    const { state, endpoint = null } = where.current();
    return { tag: tag(), name: name(), state, endpoint };
  };

  server.get("/v1/service/schema", async () => serviceAnswerSchema);
  server.get<{ Querystring: { known?: string; waitSeconds: number } }>(
    "/v1/service",
    { schema: { querystring: querySchema } },
    async (request, reply) => {
      const { known, waitSeconds } = request.query;
      reply.header("cache-control", "no-store");
      if (!isKnown()) {
        return reply.status(503).header("retry-after", "1").send({ error: "not known yet" });
      }
      if (known !== tag()) return answer();
      if (waiting >= maxWaiting) {
        return reply.status(503).header("retry-after", "1").send({ error: "too many questions" });
      }
      waiting += 1;
      try {
        await changeOf(where, waitSeconds * 1000, (leave) => reply.raw.once("close", leave));
      } finally {
        waiting -= 1;
      }
      return answer();
    },
  );
}

/** Resolves with the next change, after `timeoutMs`, or when the asker leaves. */
function changeOf(
  where: Whereabouts,
  timeoutMs: number,
  onLeft: (leave: () => void) => void,
): Promise<void> {
  return new Promise((resolve) => {
    const end = () => {
      clearTimeout(timer);
      unsubscribe();
      resolve();
    };
    const timer = setTimeout(end, timeoutMs);
    const unsubscribe = where.subscribe(end);
    onLeft(end);
  });
}
