/**
 * The service's traffic on this outer container: published ports, the hold for the time it is away,
 * and an inlet for every outer container that still relays to it.
 */
import type { ServiceDataPlane } from "../approach/container/destination.js";
import type { Engine } from "../dockerd/engine.js";
import type { NestedService } from "../nested/service.js";
import { type Hold, openHold } from "../network/hold.js";
import { type Inlet, openInlet } from "../network/inlet.js";
import type { ServiceSpec } from "../spec.js";
import type { Publisher } from "./publish-ports.js";

export interface DataPlane {
  /** Makes network, publishing and hold of a service ready; keeps what fits. */
  open(spec: ServiceSpec): Promise<ServiceDataPlane>;
  /** What `open` made; undefined before it. */
  current(): ServiceDataPlane | undefined;
  /** @throws TypeError before `open` */
  hold(): Hold;
  /** Packets and bytes relayed so far, both ways. */
  relayed(): { packets: number; bytes: number };
  close(): Promise<void>;
}

export interface DataPlaneDeps {
  service: NestedService;
  engine: Engine;
  publisher: Publisher;
}

/** Inlet numbers are used round and round; so many sources may relay to one place at once. */
const maxInlets = 63;

export function createDataPlane(deps: DataPlaneDeps): DataPlane {
  const inlets = new Map<number, Inlet>();
  let hold: Hold | undefined;
  let lastIndex = 0;

  async function nextInlet(): Promise<Inlet> {
    const rules = deps.publisher.rules();
    if (rules === undefined) throw new TypeError("an inlet before the network");
    lastIndex = (lastIndex % maxInlets) + 1;
    const index = lastIndex;
    await inlets.get(index)?.close();
    const inlet = await openInlet({ rules, index });
    inlets.set(index, inlet);
    return inlet;
  }

  return {
    async open(spec) {
      await deps.service.prepare(spec);
      const image = await deps.engine.inspectImage(spec.image.id);
      const rules = await deps.publisher.publish(spec.network, image?.config.exposedPorts ?? []);
      hold ??= await openHold({ rules });
      return { hold, openInlet: nextInlet };
    },
    current: () => (hold === undefined ? undefined : { hold, openInlet: nextInlet }),
    hold() {
      if (hold === undefined) throw new TypeError("the hold before the network");
      return hold;
    },
    relayed() {
      const stats = hold?.stats();
      return {
        packets: (stats?.sentPackets ?? 0) + (stats?.receivedPackets ?? 0),
        bytes: (stats?.sentBytes ?? 0) + (stats?.receivedBytes ?? 0),
      };
    },
    async close() {
      await Promise.all([...inlets.values()].map((inlet) => inlet.close()));
      await hold?.close();
    },
  };
}
