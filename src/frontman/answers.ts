/**
 * Answers in HTTP, for a service that is away: come again, look there, or a probe's. Sockets are
 * handed in one at a time; both protocol versions are Node's own servers that never listen.
 */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import {
  createServer as createHttp2Server,
  type IncomingHttpHeaders,
  type ServerHttp2Stream,
} from "node:http2";
import { isIPv6, type Socket } from "node:net";
import { type Endpoint, type Place, portAt } from "./place.js";

export interface Probes {
  /** Paths answered 200 while the service moves: it lives. */
  liveness: readonly string[];
  /** Paths answered 503 while the service moves: it takes no requests. */
  readiness: readonly string[];
}

/** What becomes of one request. */
export type Answer =
  | { kind: "alive" }
  | { kind: "not-ready" }
  | { kind: "retry" }
  | { kind: "redirect"; location: string; status: 307 | 308 };

export interface AnswersOptions {
  /** Where the service is now, for each request anew. */
  place(): Place;
  /** Port of the service that is answered for. */
  port: number;
  probes: Probes;
  isRedirecting: boolean;
  retryAfterSeconds: number;
  onAnswer(kind: Answer["kind"]): void;
}

export interface Answers {
  /** @param hasWaited the client came while the service was moving */
  answerHttp1(socket: Socket, hasWaited: boolean): void;
  answerHttp2(socket: Socket): void;
}

const requestTimeoutMs = 30_000;
const keepAliveTimeoutMs = 5_000;
/** gRPC's code for "try again", https://grpc.io/docs/guides/status-codes/. */
const grpcUnavailable = "14";
const movingText = "the service is being moved\n";

export function createAnswers(options: AnswersOptions): Answers {
  const waited = new WeakSet<Socket>();
  const respond = (request: IncomingMessage, response: ServerResponse) => {
    const answer = decide(options, request.url ?? "/", waited.has(request.socket));
    options.onAnswer(answer.kind);
    const { status, headers, body } = render(answer, options.retryAfterSeconds);
    response.writeHead(status, { ...headers, "Content-Length": Buffer.byteLength(body) });
    response.end(request.method === "HEAD" ? undefined : body);
  };
  const http1 = createServer(
    { requestTimeout: requestTimeoutMs, keepAliveTimeout: keepAliveTimeoutMs },
    respond,
  );
  // Answered without asking for the body: it belongs to the service.
  http1.on("checkContinue", respond);
  const http2 = createHttp2Server();
  http2.on("stream", (stream, headers) => {
    stream.on("error", () => undefined); // The client has left; nothing was promised.
    options.onAnswer("retry");
    refuseStream(stream, headers, options.retryAfterSeconds);
  });
  // A client that breaks its own connection is no fault of ours.
  http2.on("sessionError", () => undefined);
  return {
    answerHttp1(socket, hasWaited) {
      if (hasWaited) waited.add(socket);
      http1.emit("connection", socket);
      socket.resume();
    },
    answerHttp2(socket) {
      socket.setTimeout(requestTimeoutMs, () => socket.destroy());
      http2.emit("connection", socket);
    },
  };
}

/** @param target as in the request line, path and query */
export function decide(options: AnswersOptions, target: string, hasWaited: boolean): Answer {
  const { probes, isRedirecting, port } = options;
  const { state, endpoint } = options.place();
  const isAway = state === "moving" || endpoint === undefined;
  if (isAway) return probeAnswer(probes, target) ?? { kind: "retry" };
  const location =
    isRedirecting && state === "elsewhere" ? locationOf(endpoint, port, target) : undefined;
  // Home again, or a target that is none of ours: the next connection is passed on.
  if (location === undefined) return { kind: "retry" };
  // A client that met the move is told of this one request alone.
  return { kind: "redirect", location, status: hasWaited ? 307 : 308 };
}

/** The answer while the service moves, if `target` is a probe's. */
export function probeAnswer({ liveness, readiness }: Probes, target: string): Answer | undefined {
  const [path = ""] = target.split("?");
  if (liveness.includes(path)) return { kind: "alive" };
  if (readiness.includes(path)) return { kind: "not-ready" };
  return undefined;
}

/** Path and query are kept as they came. Undefined for a target that names no path (`*`). */
export function locationOf(endpoint: Endpoint, port: number, target: string): string | undefined {
  const path = target.startsWith("/") ? target : absolutePath(target);
  if (path === undefined) return undefined;
  const { scheme = "http", host } = endpoint;
  const publicPort = portAt(endpoint, port);
  const isDefault = publicPort === (scheme === "https" ? 443 : 80);
  const authority = isIPv6(host) ? `[${host}]` : host;
  return `${scheme}://${authority}${isDefault ? "" : `:${publicPort}`}${path}`;
}

function absolutePath(target: string): string | undefined {
  if (!URL.canParse(target)) return undefined;
  const { pathname, search, protocol } = new URL(target);
  return protocol === "http:" || protocol === "https:" ? `${pathname}${search}` : undefined;
}

function render(answer: Answer, retryAfterSeconds: number) {
  const text = { "Content-Type": "text/plain; charset=utf-8", "Cache-Control": "no-store" };
  // The next request may be the service's own: on a connection of its own it is passed on.
  const close = { Connection: "close" };
  switch (answer.kind) {
    case "alive":
      return { status: 200, headers: { ...text, ...close }, body: "alive; being moved\n" };
    case "not-ready":
      return { status: 503, headers: { ...text, ...close }, body: movingText };
    case "retry": {
      const headers = { ...text, ...close, "Retry-After": retryAfterSeconds };
      return { status: 503, headers, body: movingText };
    }
    case "redirect": {
      const { status, location } = answer;
      const body = `the service is at ${location}\n`;
      return { status, headers: { ...text, Location: location }, body };
    }
  }
}

function refuseStream(
  stream: ServerHttp2Stream,
  request: IncomingHttpHeaders,
  retryAfterSeconds: number,
): void {
  const isGrpc = /^application\/grpc(?:$|[+;])/.test(request["content-type"] ?? "");
  const headers = isGrpc
    ? // Trailers alone: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md#responses
      {
        ":status": 200,
        "content-type": "application/grpc",
        "grpc-status": grpcUnavailable,
        "grpc-message": "the service is being moved",
      }
    : { ":status": 503, "retry-after": String(retryAfterSeconds), "cache-control": "no-store" };
  stream.respond(headers, { endStream: true });
  // No further requests on this connection; this answer still goes out.
  stream.session?.close();
}
