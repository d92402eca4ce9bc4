/**
 * Which way the traffic of each place's clients takes. A place that the service has left sends on to
 * where it went from there; the service's last departure from a place on the way is always later than
 * that from the place before it, so no way comes to a place twice and none has more hops than there
 * are other places.
 */
import { type Move, type Place, places } from "./plan.js";

export interface Topology {
  readonly home: Place;
  moved(move: Move): void;
  /** Tunnels between the address a client knows and the service. */
  hops(entry: Place): number;
  /** Requests at each of the places make so many tunnel passages at `place`, sending on. */
  passages(place: Place): number;
}

export function createTopology(start: Place): Topology {
  const next = new Map<Place, Place>();
  let home = start;
  const way = (entry: Place): Place[] => {
    const passed: Place[] = [];
    for (let here = entry; here !== home; ) {
      if (passed.includes(here)) throw new Error(`the way from ${entry} comes to ${here} twice`);
      passed.push(here);
      const onward = next.get(here);
      // The service was never here, so nothing is sent on.
      if (onward === undefined) break;
      here = onward;
    }
    return passed;
  };
  return {
    get home() {
      return home;
    },
    moved({ from, to }) {
      next.set(from, to);
      next.delete(to);
      home = to;
    },
    hops: (entry) => way(entry).length,
    passages: (place) => places.filter((entry) => way(entry).includes(place)).length,
  };
}
