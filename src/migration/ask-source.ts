/** Asking a source what it decided about a migration that is PREPARED here. */

import { UmsError } from "../errors.js";
import { backoffMs } from "../lib/backoff.js";
import { sleep, within } from "../lib/deadline.js";
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

/** Longer than a new connection takes, even to a busy machine. */
const fencedAskTimeoutMs = 3_000;
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

/**
 * Before an operator's word is taken: a source that answers is not dead. A decision it has taken is
 * passed on as ever. UNKNOWN is not the source's answer but that of another outer container at its
 * address.
 * @throws ERR_NOT_FENCED when it answers that it is undecided or has aborted
 */
export async function checkFenced(
  ask: () => ReturnType<AskSource>,
  listener: Pick<DecisionListener, "onCommit" | "onAbort">,
): Promise<void> {
  const question = within(fencedAskTimeoutMs, "the source's answer", ask());
  const answer = await question.catch(() => undefined);
  const decision = answer?.decision ?? "UNKNOWN";
  if (answer === undefined || decision === "UNKNOWN" || decision === "") return;
  if (decision === "COMMIT") return listener.onCommit(answer.digest);
  if (decision === "ABORT") await listener.onAbort();
  const said = decision === "ABORT" ? "it has aborted and runs the service" : "it is undecided";
  throw new UmsError("ERR_NOT_FENCED", `the source is not dead: it answers that ${said}`, {
    hint: "leave both sides alone: the migration ends by itself; `ums status` tells",
    details: { decision },
  });
}
