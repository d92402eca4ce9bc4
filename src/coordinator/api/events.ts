/**
 * Server-sent events of one migration (HTML Living Standard, 9.2). `state` events are numbered by
 * their place in the record's history, so a client that lost the connection gets those it missed;
 * `progress` has no number: only the newest one is worth anything.
 */
import type { ServerResponse } from "node:http";
import type { FastifyReply, FastifyRequest } from "fastify";
import { UmsError } from "../../errors.js";
import type { Migrations } from "../migrations/migrations.js";
import type { MigrationRecord } from "../migrations/record.js";
import { migrationView } from "./views.js";

export interface EventStreams {
  /** @throws ERR_NO_ROOM when too many are open */
  open(record: MigrationRecord, request: FastifyRequest, reply: FastifyReply): void;
  close(): void;
}

const maxStreams = 200;
/** Below the idle time-outs of proxies. */
const heartbeatMs = 15_000;
/** A reader that takes nothing for so long is cut off. */
const maxBufferedBytes = 1024 * 1024;
const retryMs = 2_000;

export function createEventStreams(migrations: Migrations): EventStreams {
  const open = new Set<ServerResponse>();
  return {
    open(record, request, reply) {
      if (open.size >= maxStreams) {
        throw new UmsError("ERR_NO_ROOM", "too many event streams are open");
      }
      reply.hijack();
      const { raw } = reply;
      open.add(raw);
      const stop = follow(migrations, record, raw, lastEventId(request));
      raw.once("close", () => {
        open.delete(raw);
        stop();
      });
    },
    close() {
      for (const raw of open) raw.destroy();
    },
  };
}

/** Returns what ends it. */
function follow(
  migrations: Migrations,
  first: MigrationRecord,
  raw: ServerResponse,
  lastId: number,
): () => void {
  raw.writeHead(200, {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-store",
    "x-accel-buffering": "no",
  });
  raw.write(`retry: ${retryMs}\n\n`);
  let shown = lastId;
  const show = (record: MigrationRecord, isProgress: boolean) => {
    if (raw.writableLength > maxBufferedBytes) return raw.destroy();
    for (const [index, { state }] of record.history.entries()) {
      if (index <= shown) continue;
      shown = index;
      send(raw, "state", { ...migrationView(record), state }, index);
    }
    if (isProgress) send(raw, "progress", migrationView(record));
    if (!record.isSettled) return;
    send(raw, "end", migrationView(record), shown);
    raw.end();
  };
  const unsubscribe = migrations.subscribe(first.id, (record, event) =>
    show(record, event === "progress"),
  );
  const timer = setInterval(() => raw.write(": here\n\n"), heartbeatMs);
  show(first, first.state === "migrating" && first.progress !== undefined);
  return () => {
    clearInterval(timer);
    unsubscribe();
  };
}

function send(raw: ServerResponse, event: string, data: unknown, id?: number): void {
  const number = id === undefined ? "" : `id: ${id}\n`;
  raw.write(`${number}event: ${event}\ndata: ${JSON.stringify(data)}\n\n`);
}

/** -1: from the beginning. */
function lastEventId({ headers }: FastifyRequest): number {
  const text = headers["last-event-id"];
  return typeof text === "string" && /^\d{1,9}$/.test(text) ? Number(text) : -1;
}
