import { once } from "node:events";
import { connect } from "node:net";
import type { Endpoint } from "./contract.js";

/** A busy machine answered within a second, measured; asked again anyway. */
const answerTimeoutMs = 2_000;

/**
 * True when the supervisor at `endpoint` says that its outer container is ready and its Migration
 * Interface takes connections, which opens a moment later.
 */
export async function isSupervisorReady(
  { host, peerPort, httpPort }: Endpoint,
  signal?: AbortSignal,
): Promise<boolean> {
  const limits = [AbortSignal.timeout(answerTimeoutMs), ...(signal === undefined ? [] : [signal])];
  const limit = AbortSignal.any(limits);
  try {
    const address = host.includes(":") ? `[${host}]` : host;
    const answer = await fetch(`http://${address}:${httpPort}/readyz`, { signal: limit });
    await answer.body?.cancel();
    if (!answer.ok) return false;
    const socket = connect({ host, port: peerPort });
    try {
      await once(socket, "connect", { signal: limit });
    } finally {
      socket.destroy();
    }
    return true;
  } catch {
    // Not listening yet, or too busy to answer: the caller asks again, within its deadline.
    return false;
  }
}
