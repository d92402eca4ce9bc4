import type { Endpoint } from "./contract.js";

/** A busy machine answered within a second, measured; asked again anyway. */
const answerTimeoutMs = 2_000;

/** True when the supervisor at `endpoint` says that its outer container is ready. */
export async function isSupervisorReady(
  { host, httpPort }: Endpoint,
  signal?: AbortSignal,
): Promise<boolean> {
  const limits = [AbortSignal.timeout(answerTimeoutMs), ...(signal === undefined ? [] : [signal])];
  try {
    const address = host.includes(":") ? `[${host}]` : host;
    const answer = await fetch(`http://${address}:${httpPort}/readyz`, {
      signal: AbortSignal.any(limits),
    });
    await answer.body?.cancel();
    return answer.ok;
  } catch {
    // Not listening yet, or too busy to answer: the caller asks again, within its deadline.
    return false;
  }
}
