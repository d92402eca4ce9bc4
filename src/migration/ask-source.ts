/** Asking a source what it decided about a migration that is PREPARED here. */
import { backoffMs } from "../lib/backoff.js";
import { sleep } from "../lib/deadline.js";
import type { Ref } from "../peer/client.js";

export interface SourceAddress {
  /** `host:port` of the source's Migration Interface. */
  address: string;
  /** Name its certificate must carry; undefined: any peer of the same authority. */
  name: string | undefined;
}

/** Undefined, or a rejection, when the source cannot be reached. */
export type AskSource = (
  source: SourceAddress,
  ref: Ref,
) => Promise<{ decision: string; digest: string } | undefined>;

export interface DecisionListener {
  signal: AbortSignal;
  /** False when the decision has come another way. */
  isOpen(): boolean;
  onCommit(digest: string): Promise<void>;
  onAbort(): Promise<void>;
  onError(error: unknown): void;
}

const queryBackoff = { initialMs: 500, maxMs: 30_000 };

/**
 * Asks in the background until the decision is known, however long that takes: only the source
 * decides. Any other answer than COMMIT and ABORT decides nothing.
 */
export function untilDecided(ask: () => ReturnType<AskSource>, listener: DecisionListener): void {
  const { signal, isOpen } = listener;
  const once = async () => {
    const answer = await ask();
    if (!isOpen()) return;
    if (answer?.decision === "ABORT") await listener.onAbort();
    if (answer?.decision === "COMMIT") await listener.onCommit(answer.digest);
  };
  const loop = async () => {
    for (let attempt = 0; isOpen(); attempt += 1) {
      await sleep(backoffMs(attempt, queryBackoff), signal);
      if (isOpen()) await once().catch(listener.onError);
    }
  };
  // Only the sleep can reject, and only because of the signal: the runner was closed.
  loop().catch(() => undefined);
}
