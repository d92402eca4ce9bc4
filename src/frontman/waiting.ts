/** Connections that wait for the service to be somewhere: so many, so long, then refused. */
import type { Socket } from "node:net";
import type { Place, Whereabouts } from "./place.js";

export interface WaitingLimits {
  /** Connections that wait at a time. */
  maxConnections: number;
  /**
   * Bytes that waiting clients have sent, all together: with more there, none is added. Each waits
   * with at most 16 KiB and what the system gave in one piece, 64 KiB.
   */
  maxBytes: number;
  timeoutMs: number;
}

/** How a wait ended: the service's place, or why there is none. */
export type Outcome = (Place & { endpoint: NonNullable<Place["endpoint"]> }) | Refusal;
export type Refusal = "full" | "late" | "gone";

export interface Waiting {
  /** Settles at once when the service is somewhere already. Never rejects. */
  wait(client: Socket): Promise<Outcome>;
  /** Ends the wait of a client that was served otherwise. */
  leave(client: Socket): void;
  count(): number;
  /** Ends every wait as `gone`. */
  close(): void;
}

export function createWaiting(where: Whereabouts, limits: WaitingLimits): Waiting {
  const waiters = new Map<Socket, (outcome: Outcome) => void>();
  const unsubscribe = where.subscribe(() => {
    const place = settled(where.current());
    if (place === undefined) return;
    for (const end of [...waiters.values()]) end(place);
  });

  return {
    wait(client) {
      const place = settled(where.current());
      if (place !== undefined) return Promise.resolve(place);
      if (waiters.size >= limits.maxConnections) return Promise.resolve("full");
      let bytes = 0;
      for (const waiter of waiters.keys()) bytes += waiter.bytesRead;
      if (bytes >= limits.maxBytes) return Promise.resolve("full");
      return new Promise((resolve) => {
        const end = (outcome: Outcome) => {
          clearTimeout(timer);
          client.off("close", leave);
          waiters.delete(client);
          resolve(outcome);
        };
        const leave = () => end("gone");
        const timer = setTimeout(() => end("late"), limits.timeoutMs);
        client.once("close", leave);
        waiters.set(client, end);
        if (client.destroyed) leave();
      });
    },
    leave: (client) => waiters.get(client)?.("gone"),
    count: () => waiters.size,
    close() {
      unsubscribe();
      for (const end of [...waiters.values()]) end("gone");
    },
  };
}

function settled(place: Place): Exclude<Outcome, Refusal> | undefined {
  const { state, endpoint } = place;
  return state === "moving" || endpoint === undefined ? undefined : { state, endpoint };
}
