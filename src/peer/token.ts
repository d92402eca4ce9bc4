/**
 * Tokens: leave for one source to migrate one service to this outer container, once and soon.
 *
 * A token is a JSON Web Token (RFC 7519) that its issuer alone verifies, so it is signed with a
 * secret of this outer container (HMAC-SHA-256) that lies beside the journal of used tokens
 * (docs/decisions/0011-tokens.md). It is worth nothing to anybody but the peer it names, whose
 * certificate TLS has verified, so it is bound to a key and not a bearer token.
 */
import { randomUUID } from "node:crypto";
import { type Static, Type } from "@sinclair/typebox";
import { Value } from "@sinclair/typebox/value";
import { errors, type JWTPayload, jwtVerify, SignJWT } from "jose";
import { UmsError } from "../errors.js";
import { formatIdentity, isPeerName } from "./names.js";

/** Unknown limits are refused, not ignored: they were meant to forbid something. */
const limitsSchema = Type.Object(
  {
    service: Type.Optional(Type.String({ minLength: 1, maxLength: 253 })),
    maxMemoryBytes: Type.Optional(Type.Integer({ minimum: 1 })),
    imageIds: Type.Optional(
      Type.Array(Type.String({ pattern: "^sha256:[0-9a-f]{64}$" }), { minItems: 1, maxItems: 32 }),
    ),
  },
  { additionalProperties: false },
);

/** What may come with a token; what is left out is not limited. */
export type TokenLimits = Static<typeof limitsSchema>;

export interface TokenOrder extends TokenLimits {
  /** Name of the source, as its certificate has it. */
  source: string;
  /** Its certificate too, not the name alone: {@link thumbprintOf}. */
  thumbprint?: string;
  /** 1 to 600; default 600. */
  ttlSeconds?: number;
}

export interface IssuedToken {
  token: string;
  expiresAt: Date;
}

/** Who shows a token, as TLS has verified it. */
export interface TokenHolder {
  name: string;
  thumbprint: string | undefined;
}

/** What a good token gives. */
export interface Grant extends TokenLimits {
  /** Of the token: whether it was used is for the caller to know. */
  tokenId: string;
}

export interface Tokens {
  /** @throws ERR_CONFIG_INVALID when the order is not one */
  issue(order: TokenOrder): Promise<IssuedToken>;
  /** @throws ERR_TOKEN_REFUSED saying why */
  verify(token: string, holder: TokenHolder): Promise<Grant>;
}

export interface TokensOptions {
  /** Secret of this outer container (peer/token-key.ts). */
  key: Uint8Array;
  /** Name of this peer, now. */
  ownName(): string;
  /** Wall clock, ms: issuer and verifier are the same, so no other clock matters. */
  nowMs?: () => number;
}

export const maxTtlSeconds = 600;
const algorithm = "HS256";
/** Keeps a token apart from any other JWT (RFC 8725, 3.11). */
const type = "ums-migration+jwt";
const limitsClaim = "ums";
/** Of ours, with all limits, it is about 3,000. */
const maxTokenChars = 4_096;

export function createTokens({ key, ownName, nowMs = Date.now }: TokensOptions): Tokens {
  return {
    async issue(order) {
      const { source, thumbprint, ttlSeconds = maxTtlSeconds, ...limits } = order;
      checkOrder(source, ttlSeconds, limits);
      const issuedAt = Math.floor(nowMs() / 1_000);
      const expiresAt = issuedAt + ttlSeconds;
      const binding = thumbprint === undefined ? {} : { cnf: { "x5t#S256": thumbprint } };
      const token = await new SignJWT({ [limitsClaim]: limits, ...binding })
        .setProtectedHeader({ alg: algorithm, typ: type })
        .setAudience(formatIdentity({ role: "peer", name: ownName() }))
        .setSubject(formatIdentity({ role: "peer", name: source }))
        .setJti(randomUUID())
        .setIssuedAt(issuedAt)
        .setExpirationTime(expiresAt)
        .sign(key);
      return { token, expiresAt: new Date(expiresAt * 1_000) };
    },
    async verify(token, holder) {
      if (token.length > maxTokenChars) throw refused("it is too long to be one");
      const { payload } = await jwtVerify(token, key, {
        algorithms: [algorithm],
        typ: type,
        audience: formatIdentity({ role: "peer", name: ownName() }),
        subject: formatIdentity({ role: "peer", name: holder.name }),
        requiredClaims: ["jti", "iat", "exp"],
        maxTokenAge: maxTtlSeconds,
        currentDate: new Date(nowMs()),
      }).catch((error: unknown) => {
        throw refused(reasonOf(error, holder.name), error);
      });
      return grantOf(payload, holder);
    },
  };
}

/**
 * Checks what a source wants to bring against what its token allows.
 * @throws ERR_TOKEN_REFUSED
 */
export function checkLimits(
  limits: TokenLimits,
  wanted: { name: string; serviceId: string; memoryBytes: number; imageId: string },
): void {
  const { service, maxMemoryBytes, imageIds } = limits;
  if (service !== undefined && service !== wanted.name && service !== wanted.serviceId) {
    throw refused(`it is for the service "${service}", not "${wanted.name}"`);
  }
  if (maxMemoryBytes !== undefined && wanted.memoryBytes > maxMemoryBytes) {
    throw refused(`it allows ${maxMemoryBytes} bytes of memory, not ${wanted.memoryBytes}`);
  }
  if (imageIds !== undefined && !imageIds.includes(wanted.imageId)) {
    throw refused(`it does not allow the image ${wanted.imageId}`);
  }
}

/** `x5t#S256` of a certificate (RFC 8705): SHA-256 of its DER, base64url. */
export function thumbprintOf({ fingerprint256 }: { fingerprint256: string }): string {
  return Buffer.from(fingerprint256.replaceAll(":", ""), "hex").toString("base64url");
}

/** Also used where a token was good once and is no more. */
export function refused(reason: string, cause?: unknown): UmsError {
  return new UmsError("ERR_TOKEN_REFUSED", `the destination refuses the token: ${reason}`, {
    hint: "ask the destination's owner for another one: ums token --from NAME",
    cause,
  });
}

function checkOrder(source: string, ttlSeconds: number, limits: TokenLimits): void {
  if (!isPeerName(source)) throw wrongOrder(`"${source}" is not the name of a peer`);
  if (!Number.isInteger(ttlSeconds) || ttlSeconds < 1 || ttlSeconds > maxTtlSeconds) {
    throw wrongOrder(`a token lives 1 to ${maxTtlSeconds} seconds, not ${ttlSeconds}`);
  }
  const problem = Value.Errors(limitsSchema, limits).First();
  if (problem !== undefined) {
    throw wrongOrder(`${problem.path.slice(1)}: ${problem.message.toLowerCase()}`);
  }
}

function wrongOrder(reason: string): UmsError {
  return new UmsError("ERR_CONFIG_INVALID", `no such token can be issued: ${reason}`);
}

function grantOf(payload: JWTPayload, holder: TokenHolder): Grant {
  const { jti = "", iat = 0, exp = Number.POSITIVE_INFINITY } = payload;
  if (exp - iat > maxTtlSeconds) throw refused("it lives longer than tokens may");
  const limits: unknown = payload[limitsClaim];
  if (jti === "" || !Value.Check(limitsSchema, limits)) throw refused("it is malformed");
  const { thumbprint } = holder;
  const bound = payload["cnf"] as { "x5t#S256"?: unknown } | undefined;
  if (bound !== undefined && (thumbprint === undefined || bound["x5t#S256"] !== thumbprint)) {
    throw refused(`it is bound to another certificate than the one ${holder.name} shows`);
  }
  return { tokenId: jti, ...limits };
}

/** For the operator at the source, who has to know what to ask for. */
function reasonOf(error: unknown, holderName: string): string {
  if (error instanceof errors.JWTExpired) return "it has expired";
  if (error instanceof errors.JWSSignatureVerificationFailed) {
    return "it was issued by another outer container, or altered";
  }
  if (error instanceof errors.JWTClaimValidationFailed) {
    if (error.claim === "sub") return `it is for another source than ${holderName}`;
    if (error.claim === "aud") return "it is for another destination";
    if (error.claim === "iat") return "it was issued in the future: the clock was set back";
  }
  return "it is malformed";
}
