/** Asking a destination what it has recorded, where the source's next step depends on it. */
import { within } from "../lib/deadline.js";
import type { Ref } from "../peer/client.js";
import type { AttemptDeps, DestinationAddress } from "./source-attempt.js";

/** Longer than a new connection takes, even to a busy machine; the service may be frozen meanwhile. */
const askTimeoutMs = 3_000;

/**
 * The destination's state in a migration, by a connection of its own: another one may be waiting for
 * its next attempt. Empty when it is silent, or has no record of the migration.
 */
export async function askDestination(
  { connect, log }: Pick<AttemptDeps, "connect" | "log">,
  destination: DestinationAddress | undefined,
  ref: Ref,
): Promise<string> {
  if (destination === undefined) return "";
  const query = async () => {
    const { peer, close } = await connect(destination);
    try {
      return (await peer.query(ref)).state;
    } finally {
      close();
    }
  };
  try {
    const state = await within(askTimeoutMs, "the destination's answer", query());
    return state === "UNKNOWN" ? "" : state;
  } catch (error) {
    log.info({ err: error, ...ref }, "the destination does not answer");
    return "";
  }
}
