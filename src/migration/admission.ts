/**
 * Who may migrate here: nobody, but for the sources on the allow-list and those with a token of this
 * outer container's owner.
 */
import { UmsError } from "../errors.js";
import { createRateLimit } from "../lib/rate-limit.js";
import { checkLimits, type Tokens } from "../peer/token.js";
import type { Arrival } from "./destination-role.js";

/** What was granted. */
export interface Admission {
  /** The token that was shown; undefined when the source is on the allow-list. */
  tokenId?: string;
  /** Most memory the service may bring, bytes. */
  maxMemoryBytes?: number;
}

/**
 * Decides about an arrival by what it says of itself; whether its token was used is for the journal
 * to tell. Changes nothing.
 * @throws ERR_NOT_ALLOWED, ERR_TOKEN_REFUSED, ERR_TOO_MANY_REQUESTS after many bad tokens
 */
export type Admit = (arrival: Arrival) => Promise<Admission>;

export interface AdmissionDeps {
  /** Whether a source of this name needs no token. */
  isAllowed(sourceName: string): boolean;
  tokens: Pick<Tokens, "verify">;
  /** Monotonic clock, ms; for tests. */
  nowMs?: () => number;
}

/**
 * Bad tokens of one source. None can be guessed: the limit keeps a source that goes wrong from
 * filling the log and the processor.
 */
const badTokenRate = { burst: 10, perSecond: 0.1 };

export function createAdmission({ isAllowed, tokens, ...clock }: AdmissionDeps): Admit {
  const badTokens = createRateLimit({ what: "bad tokens", ...badTokenRate, ...clock });
  return async ({ source, token, thumbprint, departure }) => {
    const { name } = source;
    // A token that is shown decides, also for a source on the list: its limits are somebody's wish.
    if (token === "") {
      if (isAllowed(name)) return {};
      throw notAllowed(name);
    }
    badTokens.check(name);
    try {
      const { spec, memoryBytes } = departure;
      const grant = await tokens.verify(token, { name, thumbprint });
      checkLimits(grant, {
        name: spec.name,
        serviceId: spec.serviceId,
        memoryBytes,
        imageId: spec.image.id,
      });
      return grant;
    } catch (error) {
      badTokens.take(name);
      throw error;
    }
  };
}

function notAllowed(name: string): UmsError {
  return new UmsError("ERR_NOT_ALLOWED", `the destination does not take services from ${name}`, {
    hint:
      "its owner can allow one migration (`ums token --from " +
      `${name}\` there, then \`ums migrate --token\`), or all of them (UMS_ALLOW_FROM)`,
  });
}
