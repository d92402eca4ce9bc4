/** How much the outer containers send on, beside how much they should. */
import { sleep } from "../../src/lib/deadline.js";
import type { SoakClient } from "./clients.js";
import { type Place, places } from "./plan.js";
import type { Outers } from "./samples.js";
import type { Topology } from "./topology.js";

export interface RelayShare {
  afterMoves: number;
  /** Tunnels on the way of each place's clients, by the rule of {@link Topology}. */
  hops: Record<Place, number>;
  /** Requests whose clients' way has so many tunnels, added up: requests times hops. */
  expectedPassages: number;
  /** Packets that all places have sent on, both ways. */
  relayedPackets: number;
}

const windowMs = 1_000;

/** Counts for a second while nothing moves. */
export async function watchRelays(
  outers: Outers,
  topology: Topology,
  clients: readonly SoakClient[],
  afterMoves: number,
): Promise<RelayShare> {
  const hops = Object.fromEntries(places.map((place) => [place, topology.hops(place)])) as Record<
    Place,
    number
  >;
  const relayed = async () => {
    const statuses = await Promise.all(places.map((place) => outers[place].status()));
    return statuses.reduce((sum, { relayedPackets }) => sum + relayedPackets, 0);
  };
  const answered = () => clients.map(({ totals }) => totals.answered);
  const [packetsBefore, answersBefore] = [await relayed(), answered()];
  await sleep(windowMs);
  const [packetsAfter, answersAfter] = [await relayed(), answered()];
  const expectedPassages = clients.reduce((sum, { name }, index) => {
    const requests = (answersAfter[index] ?? 0) - (answersBefore[index] ?? 0);
    return sum + requests * hops[name.charAt(0) as Place];
  }, 0);
  return { afterMoves, hops, expectedPassages, relayedPackets: packetsAfter - packetsBefore };
}
