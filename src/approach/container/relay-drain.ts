/**
 * The end of a relay. A source relays to where its service has gone for as long as it is asked to;
 * draining refuses new connections, lets those that exist go on, and ends with the last of them or
 * with the deadline. After that everything is refused, so clients look for the service anew.
 */
import { sleep } from "../../lib/deadline.js";
import type { Logger } from "../../lib/log.js";
import type { Hold } from "../../network/hold.js";
import type { RelayKeeper } from "./relay-keeper.js";

/** `open`: relays all; `draining`: what exists; `drained`: nothing any more. */
export type DrainPhase = "open" | "draining" | "drained";

/** What outlives the supervisor. */
export interface DrainRecord {
  phase: DrainPhase;
  /** From the order, or from the supervisor's last start, to the end of all flows. */
  deadlineMs: number;
}

export interface RelayDrain {
  readonly phase: DrainPhase;
  /** Begins, or gives the drain that is under way another deadline. Durable when it resolves. */
  begin(deadlineMs: number): Promise<void>;
  /** After a restart of the supervisor. False when nothing is relayed any more. */
  resume(): Promise<boolean>;
  /** The service is here again: the next departure relays anew. */
  forget(): Promise<void>;
  close(): void;
}

export interface RelayDrainDeps {
  hold(): Hold;
  relays: RelayKeeper;
  /** Conversations that are still relayed. */
  countFlows(): Promise<number>;
  store: {
    read(): Promise<DrainRecord | undefined>;
    write(record: DrainRecord): Promise<void>;
  };
  log: Logger;
  /** How often the flows are counted, ms. Default 1,000. */
  intervalMs?: number;
}

const none: DrainRecord = { phase: "open", deadlineMs: 0 };

export function createRelayDrain(deps: RelayDrainDeps): RelayDrain {
  return new Drain(deps);
}

class Drain implements RelayDrain {
  private record = none;
  private watching: AbortController | undefined;

  constructor(private readonly deps: RelayDrainDeps) {}

  get phase(): DrainPhase {
    return this.record.phase;
  }

  async begin(deadlineMs: number): Promise<void> {
    if (this.record.phase === "drained") return;
    await this.enter({ phase: "draining", deadlineMs });
    await this.deps.hold().refuse("new");
    this.watch();
  }

  async resume(): Promise<boolean> {
    this.record = (await this.deps.store.read()) ?? none;
    const { phase } = this.record;
    if (phase === "open") return true;
    // The sets in the kernel are gone where the outer container itself was restarted.
    await this.deps.hold().engage();
    await this.deps.hold().refuse("new");
    if (phase === "drained") await this.deps.hold().refuse("all");
    else this.watch();
    return phase === "draining";
  }

  async forget(): Promise<void> {
    this.close();
    if (this.record.phase !== "open") await this.enter(none);
  }

  close(): void {
    this.watching?.abort();
  }

  private watch(): void {
    this.watching?.abort();
    const watching = new AbortController();
    this.watching = watching;
    this.untilDrained(watching.signal).catch((error: unknown) => {
      if (!watching.signal.aborted) this.deps.log.error({ err: error }, "the relay goes on");
    });
  }

  private async untilDrained(signal: AbortSignal): Promise<void> {
    const { countFlows, log, intervalMs = 1_000 } = this.deps;
    const endMs = performance.now() + this.record.deadlineMs;
    let flows = Number.POSITIVE_INFINITY;
    while (flows > 0 && performance.now() < endMs) {
      flows = await countFlows();
      if (flows > 0) await sleep(Math.min(intervalMs, this.record.deadlineMs), signal);
    }
    signal.throwIfAborted();
    await this.finish();
    log.info({ flows }, flows === 0 ? "relay drained" : "relay ended at its deadline");
  }

  private async finish(): Promise<void> {
    await this.enter({ ...this.record, phase: "drained" });
    const hold = this.deps.hold();
    await hold.refuse("all");
    this.deps.relays.close();
    hold.detach();
  }

  private async enter(record: DrainRecord): Promise<void> {
    await this.deps.store.write(record);
    this.record = record;
  }
}
