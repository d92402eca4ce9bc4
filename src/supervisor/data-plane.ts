/**
 * The service's traffic on this outer container: published ports, the hold for the time it is away,
 * and an inlet for every outer container that still relays to it.
 */
import type { ServiceDataPlane } from "../approach/container/destination.js";
import type { Engine } from "../dockerd/engine.js";
import { UmsError } from "../errors.js";
import type { NestedService } from "../nested/service.js";
import { listMarkedFlows } from "../network/flows.js";
import { type Hold, openHold } from "../network/hold.js";
import { type Inlet, openInlet } from "../network/inlet.js";
import { resetFlows } from "../network/reset.js";
import { maxInlets } from "../network/ruleset.js";
import type { ServiceSpec } from "../spec.js";
import type { Publisher } from "./publish-ports.js";

export interface DataPlane {
  /** Makes network, publishing and hold of a service ready; keeps what fits. */
  open(spec: ServiceSpec): Promise<ServiceDataPlane>;
  /** What `open` made; undefined before it. */
  current(): ServiceDataPlane | undefined;
  /** @throws TypeError before `open` */
  hold(): Hold;
  /** Conntrack's mark of what the peer relays to here; undefined when it does not. */
  inletMark(peerName: string): number | undefined;
  /** Resets the connections that come by this peer's relay; answers how many. */
  resetFlows(peerName: string): Promise<number>;
  /** Packets and bytes relayed so far, both ways. */
  relayed(): { packets: number; bytes: number };
  /** Of the hold's queue; zeros while there is none. */
  queue(): { queuePackets: number; droppedPackets: number };
  close(): Promise<void>;
}

export interface DataPlaneDeps {
  service: NestedService;
  engine: Engine;
  publisher: Publisher;
}

export function createDataPlane(deps: DataPlaneDeps): DataPlane {
  const inlets = new Map<string, Inlet>();
  let hold: Hold | undefined;

  /** A peer keeps its inlet: its flows of an earlier stay are marked with it. */
  async function openInletOf(peerName: string): Promise<Inlet> {
    const existing = inlets.get(peerName);
    if (existing !== undefined) return existing;
    const rules = deps.publisher.rules();
    if (rules === undefined) throw new TypeError("an inlet before the network");
    const index = freeIndex([...inlets.values()]);
    const inlet = await openInlet({ rules, index });
    inlets.set(peerName, inlet);
    return inlet;
  }

  async function closeInletOf(peerName: string): Promise<void> {
    const inlet = inlets.get(peerName);
    inlets.delete(peerName);
    await inlet?.close();
  }

  const planeOf = (opened: Hold): ServiceDataPlane => ({
    hold: opened,
    openInlet: openInletOf,
    closeInlet: closeInletOf,
  });

  return {
    async open(spec) {
      await deps.service.prepare(spec);
      const image = await deps.engine.inspectImage(spec.image.id);
      const rules = await deps.publisher.publish(spec.network, image?.config.exposedPorts ?? []);
      hold ??= await openHold({ rules });
      return planeOf(hold);
    },
    current: () => (hold === undefined ? undefined : planeOf(hold)),
    hold() {
      if (hold === undefined) throw new TypeError("the hold before the network");
      return hold;
    },
    async resetFlows(peerName) {
      const inlet = inlets.get(peerName);
      const rules = deps.publisher.rules();
      const container = await deps.service.inspect();
      if (inlet === undefined || rules === undefined || container?.State.Running !== true) return 0;
      const flows = await listMarkedFlows(rules.network.address, inlet.mark);
      return await resetFlows(container.State.Pid, flows);
    },
    inletMark: (peerName) => inlets.get(peerName)?.mark,
    queue: () => hold?.stats() ?? { queuePackets: 0, droppedPackets: 0 },
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

/** @throws ERR_NETWORK_SETUP when there are as many inlets as there can be */
function freeIndex(inlets: readonly Inlet[]): number {
  const used = new Set(inlets.map(({ index }) => index));
  for (let index = 1; index <= maxInlets; index += 1) if (!used.has(index)) return index;
  throw new UmsError("ERR_NETWORK_SETUP", `more than ${maxInlets} peers relay to this one`);
}
