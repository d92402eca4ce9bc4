/** Asks a supervisor where the service is, over HTTP, and learns of every change at once. */
import { Type } from "@sinclair/typebox";
import { Value } from "@sinclair/typebox/value";
import { UmsError } from "../errors.js";
import { backoffMs } from "../lib/backoff.js";
import { sleep } from "../lib/deadline.js";
import type { Logger } from "../lib/log.js";
import { createPlaceBoard, type Endpoint, type Whereabouts } from "./place.js";

/** What `GET /v1/service` answers. */
export const serviceAnswerSchema = Type.Object(
  {
    tag: Type.String({
      maxLength: 100,
      description: "Of this answer; `?known=TAG` waits for another one.",
    }),
    name: Type.String({ description: "Name of the service; empty while there was none." }),
    state: Type.Union([Type.Literal("here"), Type.Literal("moving"), Type.Literal("elsewhere")]),
    endpoint: Type.Union([
      Type.Null(),
      Type.Object({
        host: Type.String({ minLength: 1, maxLength: 253 }),
        scheme: Type.Optional(Type.Union([Type.Literal("http"), Type.Literal("https")])),
        ports: Type.Optional(
          Type.Record(Type.String(), Type.Integer({ minimum: 1, maximum: 65_535 })),
        ),
      }),
    ]),
  },
  { $id: "https://ums/v1/service", description: "Where the service is and how it is reached." },
);

export interface SupervisorWatch extends Whereabouts {
  /** False while the supervisor does not answer: the place is the last one known. */
  isReachable(): boolean;
  close(): void;
}

export interface SupervisorWatchOptions {
  /** e.g. `http://ums-a:9751` */
  url: string;
  log: Logger;
  /** How long one question waits for a change, seconds. Default 20. */
  waitSeconds?: number;
}

/** Beyond its own wait, how long an answer may take. */
const answerTimeoutMs = 5_000;
const retryBackoff = { initialMs: 50, maxMs: 2_000 };
/** A supervisor that answers a long question at once is not asked more often than this. */
const minIntervalMs = 5;

/**
 * Asks until it is closed. Until the first answer the service counts as moving, so clients wait.
 * @throws ERR_CONFIG_INVALID when `url` is none
 */
export function watchSupervisor(options: SupervisorWatchOptions): SupervisorWatch {
  const { log, waitSeconds = 20 } = options;
  const base = parseUrl(options.url);
  const board = createPlaceBoard({ state: "moving" });
  const closing = new AbortController();
  let isReachable = false;

  async function ask(known: string): Promise<string> {
    const url = new URL("/v1/service", base);
    if (known !== "") {
      url.searchParams.set("known", known);
      url.searchParams.set("waitSeconds", String(waitSeconds));
    }
    const timeoutMs = answerTimeoutMs + (known === "" ? 0 : waitSeconds * 1000);
    const signal = AbortSignal.any([closing.signal, AbortSignal.timeout(timeoutMs)]);
    const response = await fetch(url, { signal });
    if (!response.ok) throw new Error(`the supervisor answers ${response.status}`);
    const answer: unknown = await response.json();
    if (!Value.Check(serviceAnswerSchema, answer)) {
      throw new Error("the supervisor's answer does not say where the service is");
    }
    board.set({ state: answer.state, endpoint: endpointOf(answer, base.hostname) });
    return answer.tag;
  }

  async function watch(): Promise<void> {
    let known = "";
    for (let failures = 0; !closing.signal.aborted; ) {
      try {
        known = await ask(known);
        if (!isReachable) log.info({ place: board.current() }, "the supervisor answers");
        isReachable = true;
        failures = 0;
        await sleep(minIntervalMs, closing.signal);
      } catch (error) {
        if (closing.signal.aborted) return;
        const level = isReachable ? "warn" : "debug";
        log[level]({ err: error, place: board.current() }, "the supervisor does not answer");
        isReachable = false;
        // It may have forgotten the tag; asked without one it answers at once.
        known = "";
        await sleep(backoffMs(failures++, retryBackoff), closing.signal);
      }
    }
  }

  watch().catch((error: unknown) => {
    if (!closing.signal.aborted) log.error({ err: error }, "no longer asking the supervisor");
  });
  return {
    current: board.current,
    subscribe: board.subscribe,
    isReachable: () => isReachable,
    close: () => closing.abort(),
  };
}

/** A service that is there is reached where its supervisor is, unless it says otherwise. */
function endpointOf(
  answer: { state: string; endpoint: Endpoint | null },
  supervisorHost: string,
): Endpoint | undefined {
  if (answer.endpoint !== null) return answer.endpoint;
  if (answer.state !== "here") return undefined;
  return { host: supervisorHost.replace(/^\[(.*)\]$/, "$1") };
}

function parseUrl(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !/^https?:$/.test(url.protocol)) {
    throw new UmsError("ERR_CONFIG_INVALID", `"${text}" is not a supervisor's URL`, {
      hint: "write http://HOST:9751",
    });
  }
  return url;
}
