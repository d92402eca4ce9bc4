/**
 * The Frontman inside the outer container: while the service is away, new connections to the ports
 * of UMS_FRONTMAN come to ports of our own. Connections that exist, and every other port, stay with
 * the hold and the relay.
 */
import type { Config } from "../config.js";
import { type Disposal, type DisposalPolicy, watchDisposal } from "../frontman/disposal.js";
import { createFrontman, type Frontman, type FrontmanStats } from "../frontman/frontman.js";
import { type Mode, parsePortModes } from "../frontman/modes.js";
import { type Place, type PlaceState, parseEndpoint, type Whereabouts } from "../frontman/place.js";
import type { Logger } from "../lib/log.js";
import { listFlows } from "../network/flows.js";
import type { Rules } from "../network/rules.js";

export interface Front {
  stats(): Map<number, FrontmanStats>;
  /** Why it still stands in for the service that has gone; undefined while that is here. */
  disposal(): Disposal | undefined;
  /** Resolves with the reason when a service that has gone needs nobody here any more. */
  readonly disposed: Promise<string>;
  close(): Promise<void>;
}

export interface FrontOptions {
  config: Config;
  where: Whereabouts;
  /** Undefined before the service's network is there. */
  rules(): Rules | undefined;
  log: Logger;
}

/** Where the service is when new connections come to the Frontman; at the others, to the relay. */
const frontedStates: Record<Exclude<Mode, "hold">, readonly PlaceState[]> = {
  retry: ["moving"],
  redirect: ["moving", "elsewhere"],
  forward: ["moving", "elsewhere"],
};

/** What the schema cannot check, before anything is started. @throws ERR_CONFIG_INVALID */
export function checkFrontConfig({ UMS_FRONTMAN, UMS_PUBLIC_ENDPOINT }: Config): void {
  parsePortModes(UMS_FRONTMAN ?? "");
  if (UMS_PUBLIC_ENDPOINT !== undefined) parseEndpoint(UMS_PUBLIC_ENDPOINT);
}

/** @throws ERR_CONFIG_INVALID for UMS_FRONTMAN */
export async function openFront(options: FrontOptions): Promise<Front> {
  const { config, rules, log } = options;
  // A held port needs nobody: its packets wait in the kernel, and clients keep their addresses.
  const modes = parsePortModes(config.UMS_FRONTMAN ?? "").filter(({ mode }) => mode !== "hold");
  const where = seenFromInside(options.where, rules);
  const frontmen = await Promise.all(
    modes.map(async ({ port, mode }) => ({
      mode: mode as Exclude<Mode, "hold">,
      frontman: await createFrontman({
        // Connections arrive by whatever address the client used; nft sends no others here.
        listen: { host: "0.0.0.0", port: 0 },
        servicePort: port,
        mode,
        where,
        probes: { liveness: config.UMS_LIVENESS_PATH, readiness: config.UMS_READINESS_PATH },
        limits: {
          holdTimeoutMs: config.UMS_HOLD_TIMEOUT * 1000,
          retryAfterSeconds: config.UMS_RETRY_AFTER,
        },
        log,
      }),
    })),
  );
  const opened = new OpenFront(options, frontmen);
  opened.follow();
  return opened;
}

class OpenFront implements Front {
  readonly disposed: Promise<string>;
  #dispose: (reason: string) => void = () => undefined;
  #unsubscribe: () => void = () => undefined;
  #watching: { abort: AbortController; last: () => Disposal } | undefined;
  /** False until something was put into the nft map, or may have been by an earlier process. */
  #mayBeFronted: boolean;

  constructor(
    private readonly options: FrontOptions,
    private readonly frontmen: readonly {
      mode: Exclude<Mode, "hold">;
      frontman: Frontman;
    }[],
  ) {
    this.#mayBeFronted = frontmen.length > 0;
    this.disposed = new Promise((resolve) => {
      this.#dispose = resolve;
    });
  }

  follow(): void {
    const { where, log } = this.options;
    const apply = () => {
      const place = where.current();
      this.#turn(place).catch((error: unknown) => {
        log.error({ err: error, place }, "new connections do not reach the Frontman");
      });
      this.#watch(place);
    };
    this.#unsubscribe = where.subscribe(apply);
    apply();
  }

  stats(): Map<number, FrontmanStats> {
    return new Map(this.frontmen.map(({ frontman }) => [frontman.servicePort, frontman.stats()]));
  }

  disposal(): Disposal | undefined {
    return this.#watching?.last();
  }

  async close(): Promise<void> {
    this.#unsubscribe();
    this.#watching?.abort.abort();
    // Nobody listens any more: let the hold have them, until the next process is there.
    if (this.frontmen.length > 0) await this.options.rules()?.setFronted(new Map());
    await Promise.all(this.frontmen.map(({ frontman }) => frontman.close()));
  }

  async #turn({ state }: Place): Promise<void> {
    const rules = this.options.rules();
    if (rules === undefined) return;
    const fronted = this.frontmen.filter(({ mode }) => frontedStates[mode].includes(state));
    // nft is a process to start, and this may be in the middle of a freeze.
    if (fronted.length === 0 && !this.#mayBeFronted) return;
    this.#mayBeFronted = fronted.length > 0;
    await rules.setFronted(
      new Map(fronted.map(({ frontman }) => [frontman.servicePort, frontman.port])),
    );
  }

  #watch({ state, endpoint }: Place): void {
    this.#watching?.abort.abort();
    this.#watching = undefined;
    if (state !== "elsewhere" || endpoint === undefined) return;
    const { config, rules, log } = this.options;
    const abort = new AbortController();
    const { signal } = abort;
    const watch = watchDisposal({
      policy: policyOf(config),
      newHost: endpoint.host,
      activeFlows: async () => {
        const address = rules()?.network.address;
        const relayed = address === undefined ? [] : await listFlows(address);
        const own = this.frontmen.map(({ frontman }) => frontman.stats());
        return own.reduce((sum, { forwarded, held }) => sum + forwarded + held, relayed.length);
      },
      log,
      signal,
    });
    this.#watching = { abort, last: watch.last };
    watch.over().then(
      ({ reason }) => this.#dispose(reason),
      (error: unknown) => {
        if (!signal.aborted) log.error({ err: error }, "the Frontman's end is not watched");
      },
    );
  }
}

function policyOf(config: Config): DisposalPolicy {
  const ms = (value: number | undefined) => (value === undefined ? undefined : value * 1000);
  return {
    dnsName: config.UMS_DISPOSAL_DNS_NAME,
    idleMs: ms(config.UMS_DISPOSAL_IDLE),
    deadlineMs: ms(config.UMS_DISPOSAL_DEADLINE),
  };
}

/** A service that is here is reached at its own address, not at the one that clients use. */
function seenFromInside(where: Whereabouts, rules: () => Rules | undefined): Whereabouts {
  return {
    subscribe: where.subscribe,
    current() {
      const place = where.current();
      if (place.state !== "here") return place;
      const network = rules()?.network;
      return { state: "here", endpoint: network && { host: network.address } };
    },
  };
}
