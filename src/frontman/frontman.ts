/**
 * Stands in for a service on one port: passes connections on to where it is, and deals with those
 * that come while it is nowhere. Knows nothing of how a service moves.
 */
import { once } from "node:events";
import { createServer, type Server, type Socket } from "node:net";
import { backoffMs } from "../lib/backoff.js";
import { sleep, within } from "../lib/deadline.js";
import type { Logger } from "../lib/log.js";
import { type Answer, type Answers, createAnswers, type Probes, probeAnswer } from "./answers.js";
import { announce, dial, join } from "./forward.js";
import { Intake, type Speech } from "./intake.js";
import type { Mode } from "./modes.js";
import { type Place, portAt, type Whereabouts } from "./place.js";
import type { ProxyVersion } from "./proxy-protocol.js";
import { createWaiting, type Outcome, type Refusal, type Waiting } from "./waiting.js";

export interface FrontmanOptions {
  /** Port 0 takes a free one. */
  listen: { host: string; port: number };
  /** Port of the service that this one stands for. */
  servicePort: number;
  mode: Mode;
  where: Whereabouts;
  /** Answered while the service moves, over HTTP/1. Default none. */
  probes?: Probes;
  /** Header ahead of every connection that is passed on. Default none. */
  proxyProtocol?: ProxyVersion | undefined;
  limits?: Partial<FrontmanLimits>;
  /** Connects to the service within a time. Default: over TCP. */
  connect?: typeof dial;
  log: Logger;
}

export interface FrontmanLimits {
  /** Connections at a time, waiting and passed on; those beyond are refused. */
  maxConnections: number;
  /** Connections that wait for the service at a time. */
  maxHeld: number;
  /** Bytes that waiting clients have sent. */
  maxHeldBytes: number;
  holdTimeoutMs: number;
  /** Until a connection to the service is made, tries after a refusal included. */
  connectTimeoutMs: number;
  /** A client that says nothing for so long speaks no HTTP. */
  speechTimeoutMs: number;
  /** What HTTP clients are told to wait, at least 1. */
  retryAfterSeconds: number;
}

export const defaultLimits: FrontmanLimits = {
  maxConnections: 10_000,
  maxHeld: 2_000,
  maxHeldBytes: 32 * 1024 * 1024,
  holdTimeoutMs: 60_000,
  connectTimeoutMs: 5_000,
  speechTimeoutMs: 10_000,
  retryAfterSeconds: 1,
};

export interface FrontmanStats {
  /** Connections that wait for the service now. */
  held: number;
  /** Connections that are passed on now. */
  forwarded: number;
  /** So far, by what was done: `forward`, `refuse`, or an answer. */
  actions: Readonly<Record<"forward" | "refuse" | Answer["kind"], number>>;
}

export interface Frontman {
  readonly port: number;
  readonly servicePort: number;
  stats(): FrontmanStats;
  /** Stops listening and ends every connection. */
  close(): Promise<void>;
}

/** Bytes that Node reads ahead of a client that waits. */
const readAheadBytes = 16 * 1024;
const dialBackoff = { initialMs: 20, maxMs: 500 };

/** Listens. @throws Node's error of `listen`, such as EADDRINUSE */
export async function createFrontman(options: FrontmanOptions): Promise<Frontman> {
  const frontman = new OpenFrontman(options);
  await frontman.listen();
  return frontman;
}

class OpenFrontman implements Frontman {
  readonly #options: FrontmanOptions;
  readonly #limits: FrontmanLimits;
  readonly #server: Server;
  readonly #waiting: Waiting;
  readonly #answers: Answers;
  readonly #sockets = new Set<Socket>();
  #forwarded = 0;
  readonly #actions: Record<keyof FrontmanStats["actions"], number> = {
    forward: 0,
    refuse: 0,
    alive: 0,
    "not-ready": 0,
    retry: 0,
    redirect: 0,
  };

  constructor(options: FrontmanOptions) {
    this.#options = options;
    const limits = { ...defaultLimits, ...options.limits };
    this.#limits = limits;
    this.#waiting = createWaiting(options.where, {
      maxConnections: limits.maxHeld,
      maxBytes: limits.maxHeldBytes,
      timeoutMs: limits.holdTimeoutMs,
    });
    this.#answers = createAnswers({
      place: () => options.where.current(),
      port: options.servicePort,
      probes: options.probes ?? { liveness: [], readiness: [] },
      isRedirecting: options.mode === "redirect",
      retryAfterSeconds: limits.retryAfterSeconds,
      onAnswer: (kind) => this.#count(kind),
    });
    const settings = { allowHalfOpen: true, pauseOnConnect: true, highWaterMark: readAheadBytes };
    this.#server = createServer(settings, (socket) => this.#accept(socket));
    this.#server.maxConnections = limits.maxConnections;
    this.#server.on("drop", () => this.#count("refuse"));
  }

  get port(): number {
    const address = this.#server.address();
    return typeof address === "object" && address !== null ? address.port : 0;
  }

  get servicePort(): number {
    return this.#options.servicePort;
  }

  async listen(): Promise<void> {
    this.#server.listen({ ...this.#options.listen, backlog: this.#limits.maxHeld });
    await once(this.#server, "listening");
  }

  stats(): FrontmanStats {
    const actions = { ...this.#actions };
    return { held: this.#waiting.count(), forwarded: this.#forwarded, actions };
  }

  async close(): Promise<void> {
    this.#waiting.close();
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  #accept(socket: Socket): void {
    this.#track(socket);
    this.#serve(socket).catch((error: unknown) => {
      this.#options.log.debug({ err: error, port: this.servicePort }, "not passed on");
      this.#refuse(socket);
    });
  }

  #track(socket: Socket): void {
    this.#sockets.add(socket);
    socket.once("close", () => this.#sockets.delete(socket));
    // A client that breaks off; whoever has the socket sees it closing.
    socket.on("error", () => undefined);
  }

  async #serve(client: Socket): Promise<void> {
    const { mode } = this.#options;
    const intake = new Intake(client);
    const wasMoving = isAway(this.#options.where);
    const outcome = this.#waiting.wait(client);
    if (wasMoving && (await this.#answerMeanwhile(client, intake, outcome))) return;
    const place = await outcome;
    if (typeof place === "string") return this.#turnAway(client, intake, place);
    if (mode === "redirect" && place.state === "elsewhere") {
      const { kind } = await this.#speech(intake);
      if (kind === "http1") {
        intake.release();
        return this.#answers.answerHttp1(client, wasMoving);
      }
    }
    await this.#forward(client, intake);
  }

  /** While the service moves: probes, and those that are asked to come again. */
  async #answerMeanwhile(
    client: Socket,
    intake: Intake,
    outcome: Promise<Outcome>,
  ): Promise<boolean> {
    const { mode, probes } = this.#options;
    const speech = await Promise.race([intake.speech, outcome.then(() => undefined)]);
    if (speech === undefined || !isAway(this.#options.where)) return false;
    const isProbe =
      speech.kind === "http1" &&
      probes !== undefined &&
      probeAnswer(probes, speech.path) !== undefined;
    if (!isProbe && mode !== "retry") return false;
    return this.#answer(client, intake, speech);
  }

  /** Too many, or too late: HTTP clients are told so, the others are reset. */
  async #turnAway(client: Socket, intake: Intake, refusal: Refusal): Promise<void> {
    if (refusal === "gone") {
      client.destroy();
      return;
    }
    const { mode } = this.#options;
    const speaksHttp = mode === "retry" || mode === "redirect";
    if (speaksHttp && this.#answer(client, intake, await this.#speech(intake))) return;
    this.#refuse(client);
  }

  /** Answers in the client's protocol, if it is one of ours. */
  #answer(client: Socket, intake: Intake, { kind }: Speech): boolean {
    if (kind === "other" || client.destroyed) return false;
    intake.release();
    this.#waiting.leave(client);
    if (kind === "http1") this.#answers.answerHttp1(client, true);
    else this.#answers.answerHttp2(client);
    return true;
  }

  /** A client that says nothing waits for the server's word: no HTTP. */
  async #speech(intake: Intake): Promise<Speech> {
    try {
      return await within(this.#limits.speechTimeoutMs, "the first bytes", intake.speech);
    } catch {
      // The deadline: there is no other way to fail.
      return { kind: "other" };
    }
  }

  async #forward(client: Socket, intake: Intake): Promise<void> {
    const { proxyProtocol } = this.#options;
    const upstream = await this.#connect(client);
    if (upstream === undefined) return this.#refuse(client);
    this.#track(upstream);
    if (proxyProtocol !== undefined) announce(upstream, client, proxyProtocol);
    this.#count("forward");
    this.#forwarded += 1;
    try {
      await join(client, upstream, intake.release());
    } finally {
      this.#forwarded -= 1;
    }
  }

  /** Asks where the service is before every try: it may have moved since. */
  async #connect(client: Socket): Promise<Socket | undefined> {
    const { where, servicePort, connect: knock = dial } = this.#options;
    let endMs = performance.now() + this.#limits.connectTimeoutMs;
    for (let attempt = 0; !client.destroyed; attempt += 1) {
      if (isAway(where)) {
        const place = await this.#waiting.wait(client);
        if (typeof place === "string") return undefined;
        endMs = performance.now() + this.#limits.connectTimeoutMs;
      }
      const asked = where.current();
      const { endpoint } = asked;
      if (endpoint === undefined) continue;
      const leftMs = Math.max(1, endMs - performance.now());
      try {
        const target = { host: endpoint.host, port: portAt(endpoint, servicePort) };
        const upstream = await knock(target, leftMs);
        if (!client.destroyed) return upstream;
        upstream.destroy();
        return undefined;
      } catch (error) {
        if (!isSame(where.current(), asked)) {
          // It moved meanwhile. What is not answered there may be held, for as long as that takes.
          endMs = performance.now() + this.#limits.connectTimeoutMs;
          continue;
        }
        if (performance.now() >= endMs) throw error;
        await sleep(backoffMs(attempt, dialBackoff));
      }
    }
    return undefined;
  }

  #refuse(client: Socket): void {
    if (client.destroyed) return;
    this.#count("refuse");
    client.resetAndDestroy();
  }

  #count(action: keyof FrontmanStats["actions"]): void {
    this.#actions[action] += 1;
  }
}

function isSame(one: Place, other: Place): boolean {
  return JSON.stringify(one) === JSON.stringify(other);
}

function isAway(where: Whereabouts): boolean {
  const { state, endpoint } = where.current();
  return state === "moving" || endpoint === undefined;
}
