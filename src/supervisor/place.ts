/** Where the service is, from what the source's half of a migration knows. */
import { type Endpoint, type Place, parseEndpoint } from "../frontman/place.js";
import type { DestinationAddress } from "../migration/source-attempt.js";
import type { SourcePhase } from "../migration/source-state.js";
import { parseAddress } from "../peer/address.js";

export interface PlaceFacts {
  /** Undefined: no service is owned here, nor was. */
  phase: SourcePhase | undefined;
  destination: DestinationAddress | undefined;
  /** `UMS_PUBLIC_ENDPOINT`. */
  publicEndpoint: string | undefined;
}

/** In these the service is frozen here, or nobody knows yet whether it runs there. */
const moving: ReadonlySet<SourcePhase> = new Set([
  "FREEZING",
  "FROZEN",
  "COMMITTED",
  "ABORTED",
  "ROLLED_BACK",
]);

export function placeOf({ phase, destination, publicEndpoint }: PlaceFacts): Place {
  // What is only awaited runs at somebody else's, whom this side does not speak for.
  if (phase === undefined) return { state: "elsewhere" };
  if (moving.has(phase)) return { state: "moving" };
  if (phase === "DONE" || phase === "RETIRED") {
    return { state: "elsewhere", endpoint: destination && endpointOf(destination) };
  }
  const endpoint = publicEndpoint === undefined ? undefined : parseEndpoint(publicEndpoint);
  return { state: "here", endpoint };
}

/** In the destination's own words, or where its Migration Interface is. */
function endpointOf({ address, publicEndpoint }: DestinationAddress): Endpoint {
  try {
    if (publicEndpoint !== undefined) return parseEndpoint(publicEndpoint);
  } catch {
    // A destination checks its own setting at its start. What another program may say must not
    // stop a migration: the default is as good as any guess.
  }
  return { host: parseAddress(address).host };
}
