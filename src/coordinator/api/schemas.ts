/** Shapes of the API, for the check of requests and for the OpenAPI document. */
import { type Static, type TSchema, Type } from "@sinclair/typebox";
import { frontmanModes, migrationStates } from "../migrations/record.js";
import { approaches } from "../plan/plan.js";
import { specSchema } from "./spec-schema.js";

export function oneOf<const T extends readonly string[]>(values: T, description?: string) {
  return Type.Unsafe<T[number]>({
    type: "string",
    enum: values,
    ...(description === undefined ? {} : { description }),
  });
}

export function mapOf<T extends TSchema>(values: T, maxProperties = 1_000) {
  return Type.Unsafe<Record<string, Static<T>>>({
    type: "object",
    additionalProperties: values,
    maxProperties,
  });
}

const closed = { additionalProperties: false };
const timeMs = (description: string) => Type.Number({ description: `${description}, ms.` });
const name = (description: string) =>
  Type.String({
    minLength: 1,
    maxLength: 255,
    pattern: "^[A-Za-z0-9][A-Za-z0-9_./:-]*$",
    description,
  });

export const problemSchema = Type.Object(
  {
    type: Type.String({ description: "`urn:ums:error:CODE`" }),
    title: Type.String(),
    status: Type.Integer(),
    detail: Type.String({ description: "A sentence for people." }),
    code: Type.String({ description: "Stable; docs/errors.md explains each." }),
    hint: Type.Optional(Type.String({ description: "What to do next." })),
    details: Type.Optional(Type.Unsafe<Record<string, unknown>>({ type: "object" })),
  },
  { $id: "Problem", description: "RFC 9457" },
);

export const requestSchema = Type.Object(
  {
    service: name("Name or id of the service's outer container in this system."),
    destination: Type.Object(
      {
        system: name("A system of GET /v1/systems."),
        name: Type.Optional(name("Its name there. Default: as here.")),
        ports: Type.Optional(
          Type.Unsafe<Record<string, number>>({
            type: "object",
            maxProperties: 100,
            propertyNames: { pattern: "^\\d{1,5}/(tcp|udp)$" },
            additionalProperties: { type: "integer", minimum: 0, maximum: 65_535 },
            description: "Other published ports there, `6379/tcp` -> port; 0: any free one.",
          }),
        ),
      },
      closed,
    ),
    approach: Type.Optional(oneOf(approaches, "Default: the fastest that is possible.")),
    frontman: Type.Optional(
      oneOf(
        frontmanModes,
        "What becomes of the relay of a source that is deleted. Default: drain.",
      ),
    ),
    drainMs: Type.Optional(Type.Integer({ minimum: 0, maximum: 3_600_000, default: 30_000 })),
    source: oneOf(["delete", "keep"], "What becomes of the source; kept, it relays."),
    downtimeBudgetMs: Type.Optional(
      Type.Integer({ minimum: 1, maximum: 3_600_000, description: "Longest freeze accepted." }),
    ),
  },
  closed,
);

const untranslatableSchema = Type.Object({
  setting: Type.String(),
  effect: oneOf(["refused", "reported"]),
  reason: Type.String(),
});

const progressSchema = Type.Object({
  phase: Type.String({ description: "State of docs/switchover.md." }),
  bytesSent: Type.Number(),
  bytesTotal: Type.Number({ description: "0: unknown." }),
  elapsedMs: timeMs("Since the order"),
});

export const migrationSchema = Type.Object({
  id: Type.String(),
  request: requestSchema,
  retryOf: Type.Optional(Type.String({ description: "The migration that this one repeats." })),
  state: oneOf(migrationStates),
  createdAt: Type.String({ format: "date-time" }),
  updatedAt: Type.String({ format: "date-time" }),
  approach: Type.Optional(Type.String()),
  source: Type.Optional(Type.String({ description: "Its Migration Interface, `host:port`." })),
  destination: Type.Optional(Type.String({ description: "The same of the destination." })),
  supervisorMigrationId: Type.Optional(Type.String({ description: "As in `ums status`." })),
  progress: Type.Optional(progressSchema),
  result: Type.Optional(
    Type.Object({
      outcome: Type.Literal("moved"),
      endpoint: Type.String({ description: "Where the service is now." }),
      totalMs: timeMs("From the request to the hand-over"),
      freezeMs: Type.Optional(timeMs("Freeze of the service")),
      bytesSent: Type.Number(),
      timingsMs: mapOf(Type.Number()),
    }),
  ),
  problem: Type.Optional(problemSchema),
  notes: Type.Array(Type.String()),
  untranslatable: Type.Array(untranslatableSchema),
  isCancelRequested: Type.Boolean(),
  isSettled: Type.Boolean({
    description: "The outcome is known, and nothing is left to clean up.",
  }),
  history: Type.Array(
    Type.Object({ state: oneOf(migrationStates), at: Type.String({ format: "date-time" }) }),
  ),
});

const approachSchema = Type.Object({
  approach: oneOf(approaches),
  possible: Type.Boolean(),
  reasons: Type.Array(Type.String()),
  predictedDowntimeMs: Type.Optional(timeMs("Estimate of the freeze")),
  predictedTotalMs: Type.Optional(
    timeMs("Estimate of the migration without the destination's start"),
  ),
});

export const serviceSchema = Type.Object({
  id: Type.String(),
  name: Type.String(),
  image: Type.String({ description: "Of the outer container." }),
  serviceImage: Type.Optional(Type.String({ description: "Of the service itself." })),
  state: oneOf(["starting", "running", "ended"]),
  here: Type.Optional(oneOf(["running", "frozen", "none"])),
  endpoint: Type.Optional(Type.String({ description: "Migration Interface, `host:port`." })),
  ports: Type.Array(
    Type.Object({
      port: Type.Integer(),
      protocol: oneOf(["tcp", "udp"]),
      published: Type.Optional(Type.Integer()),
      address: Type.Optional(Type.String()),
    }),
  ),
  memoryBytes: Type.Optional(Type.Number()),
  diskBytes: Type.Optional(Type.Number()),
  processes: Type.Optional(Type.Number()),
  migration: Type.Object({
    possible: Type.Boolean(),
    approaches: Type.Array(approachSchema),
    reasons: Type.Array(Type.String()),
  }),
});

export const systemSchema = Type.Object({
  name: Type.String(),
  isSelf: Type.Boolean(),
  reachable: Type.Boolean(),
  orchestrator: Type.Optional(Type.String()),
  version: Type.Optional(Type.String()),
  features: Type.Optional(Type.Array(Type.String())),
  problem: Type.Optional(problemSchema),
});

const factsSchema = Type.Object({
  protocolVersion: Type.Integer(),
  umsVersion: Type.String({ maxLength: 100 }),
  architecture: Type.String({ maxLength: 100 }),
  kernelRelease: Type.String({ maxLength: 200 }),
  criuVersion: Type.String({ maxLength: 100 }),
  cgroupVersion: Type.Unsafe<1 | 2>({ type: "integer", enum: [1, 2] }),
  cpuFlags: Type.Array(Type.String({ maxLength: 100 }), { maxItems: 2_000 }),
});

export const arrivalOrderSchema = Type.Object(
  {
    spec: specSchema,
    service: name("The service's name at the source."),
    from: Type.Object(
      { system: name("The source's system."), peerName: Type.String({ maxLength: 63 }) },
      closed,
    ),
    facts: factsSchema,
  },
  closed,
);

export const arrivalSchema = Type.Object({
  migrationId: Type.String(),
  state: oneOf(["creating", "ready", "failed"]),
  endpoint: Type.Optional(Type.String()),
  peerName: Type.Optional(Type.String()),
  facts: Type.Optional(factsSchema),
  untranslatable: Type.Array(untranslatableSchema),
  problem: Type.Optional(problemSchema),
});

export const feasibilitySchema = Type.Object({
  orchestrator: Type.String(),
  untranslatable: Type.Array(untranslatableSchema),
  facts: Type.Optional(factsSchema),
});
