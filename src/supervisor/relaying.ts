/** The relay of a service that has left: kept alive, counted, and ended when it is asked for. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Duplex } from "node:stream";
import { createRelayDrain, type DrainRecord } from "../approach/container/relay-drain.js";
import { createRelayKeeper, type RelayKeeper } from "../approach/container/relay-keeper.js";
import { UmsError } from "../errors.js";
import type { DrainRelayOptions } from "../grpc/migration-service.js";
import { isNotFound, writeFileDurably } from "../lib/files.js";
import type { Logger } from "../lib/log.js";
import type { TrafficStatus } from "../migration/view.js";
import { listFlows } from "../network/flows.js";
import type { Hold } from "../network/hold.js";

export interface RelayingDeps {
  hold(): Hold;
  /** Of the hold; zeros while there is none. */
  queue(): { queuePackets: number; droppedPackets: number };
  /** Opens a further relay stream to where the service is. */
  open(): Promise<Duplex>;
  /** Asks the peer that has the service to reset what this side relays; answers how many. */
  resetAtPeer(): Promise<number>;
  /** The service's own address; undefined when none was ever here. */
  serviceAddress(): string | undefined;
  hasLeft(): boolean;
  stateDir: string;
  log: Logger;
}

export interface Relaying {
  keeper: RelayKeeper;
  /** After a restart. False when the relay had been ended. */
  resume(): Promise<boolean>;
  /** @throws ERR_SERVICE_NOT_FOUND when no service has left from here */
  drain(options: DrainRelayOptions): Promise<{ flows: number; resets: number }>;
  traffic(): Promise<TrafficStatus>;
  /** The service has come back. */
  forget(): Promise<void>;
  close(): void;
}

export function createRelaying(deps: RelayingDeps): Relaying {
  const { hold, open, log } = deps;
  const keeper = createRelayKeeper({ hold, open, log });
  const drain = createRelayDrain({
    hold,
    relays: keeper,
    countFlows,
    store: openDrainStore(deps.stateDir),
    log,
  });

  async function countFlows(): Promise<number> {
    const address = deps.serviceAddress();
    return address === undefined ? 0 : (await listFlows(address)).length;
  }

  return {
    keeper,
    resume: () => drain.resume(),
    async drain({ deadlineMs, isReset }) {
      if (!deps.hasLeft()) {
        throw new UmsError("ERR_SERVICE_NOT_FOUND", "no service has left from here", {
          hint: "only a source that has moved its service away relays to it",
        });
      }
      const flows = await countFlows();
      await drain.begin(deadlineMs);
      return { flows, resets: isReset ? await deps.resetAtPeer() : 0 };
    },
    async traffic() {
      const { queuePackets, droppedPackets } = deps.queue();
      const queue = { queuePackets, droppedPackets };
      if (!deps.hasLeft()) return { relayPhase: "none", relayedFlows: 0, ...queue };
      return { relayPhase: drain.phase, relayedFlows: await countFlows(), ...queue };
    },
    forget: async () => {
      keeper.close();
      await drain.forget();
    },
    close() {
      keeper.close();
      drain.close();
    },
  };
}

/** How far the drain was, kept in the state directory. */
function openDrainStore(stateDir: string) {
  const path = join(stateDir, "relay.json");
  return {
    async read(): Promise<DrainRecord | undefined> {
      try {
        return JSON.parse(await readFile(path, "utf8")) as DrainRecord;
      } catch (error) {
        if (isNotFound(error)) return undefined;
        throw error;
      }
    },
    write: (record: DrainRecord) => writeFileDurably(path, `${JSON.stringify(record)}\n`),
  };
}
