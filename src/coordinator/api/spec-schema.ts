/** src/orchestrators/workload.ts as a schema: what another Coordinator sends is checked like the rest. */
import { Type } from "@sinclair/typebox";
import type { WorkloadSpec } from "../../orchestrators/workload.js";

const closed = { additionalProperties: false };
const text = (maxLength = 4_096) => Type.String({ maxLength });
const list = (maxLength = 4_096) => Type.Array(text(maxLength), { maxItems: 1_000 });
const positive = Type.Optional(Type.Number({ minimum: 0 }));
const words = (...values: string[]) => ({ type: "string", enum: values });
const texts = { type: "object", additionalProperties: text(65_536), maxProperties: 1_000 };
const absolute = Type.String({ maxLength: 4_096, pattern: "^/" });

const action = Type.Union([
  Type.Object({ kind: Type.Literal("exec"), command: list() }, closed),
  Type.Object(
    {
      kind: Type.Literal("http"),
      path: text(),
      port: Type.Integer({ minimum: 1, maximum: 65_535 }),
      isHttps: Type.Boolean(),
    },
    closed,
  ),
  Type.Object(
    { kind: Type.Literal("tcp"), port: Type.Integer({ minimum: 1, maximum: 65_535 }) },
    closed,
  ),
]);

const probe = Type.Optional(
  Type.Object(
    {
      action,
      periodMs: positive,
      timeoutMs: positive,
      initialDelayMs: positive,
      failureThreshold: positive,
      successThreshold: positive,
    },
    closed,
  ),
);

export const specSchema = Type.Unsafe<WorkloadSpec>(
  Type.Object(
    {
      name: Type.String({
        minLength: 1,
        maxLength: 255,
        pattern: "^[A-Za-z0-9][A-Za-z0-9_./:-]*$",
      }),
      image: Type.String({ minLength: 1, maxLength: 1_000 }),
      args: Type.Optional(list(131_072)),
      env: Type.Array(
        Type.Object({ name: Type.String({ minLength: 1 }), value: text(131_072) }, closed),
        { maxItems: 5_000 },
      ),
      ports: Type.Array(
        Type.Object(
          {
            port: Type.Integer({ minimum: 1, maximum: 65_535 }),
            protocol: Type.Unsafe(words("tcp", "udp")),
            published: Type.Optional(Type.Integer({ minimum: 0, maximum: 65_535 })),
            address: Type.Optional(text(100)),
          },
          closed,
        ),
        { maxItems: 1_000 },
      ),
      mounts: Type.Array(
        Type.Object(
          {
            kind: Type.Unsafe(words("volume", "bind", "tmpfs", "config")),
            source: text(),
            target: absolute,
            isReadOnly: Type.Boolean(),
            sizeBytes: positive,
          },
          closed,
        ),
        { maxItems: 1_000 },
      ),
      resources: Type.Object(
        { memoryBytes: positive, cpus: positive, pids: positive, shmBytes: positive },
        closed,
      ),
      labels: Type.Unsafe(texts),
      probes: Type.Object({ liveness: probe, readiness: probe, startup: probe }, closed),
      restart: Type.Object(
        {
          policy: Type.Unsafe(words("no", "on-failure", "always", "unless-stopped")),
          maxRetries: positive,
        },
        closed,
      ),
      hostname: Type.Optional(text(255)),
      user: Type.Optional(text(255)),
      workingDir: Type.Optional(absolute),
      isReadOnlyRoot: Type.Boolean(),
      dns: Type.Object({ servers: list(), searches: list(), options: list() }, closed),
      extraHosts: Type.Unsafe(texts),
      ulimits: Type.Array(
        Type.Object({ name: text(100), soft: Type.Number(), hard: Type.Number() }, closed),
        { maxItems: 100 },
      ),
      sysctls: Type.Unsafe(texts),
      stopSignal: Type.Optional(text(30)),
      stopTimeoutMs: positive,
      isTty: Type.Boolean(),
      hasStdin: Type.Boolean(),
    },
    closed,
  ),
);
