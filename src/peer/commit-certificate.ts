/**
 * The COMMIT as a certificate that any path may carry: a compact JWS (RFC 7515), ES256 with the
 * source's own TLS key, its certificate in the header (`x5c`). docs/decisions/0010-signed-commit.md.
 *
 * It does not expire: no timer decides anything after COMMITTED. What is looked at instead is whether
 * the signing certificate was valid when it signed.
 */
import { createPrivateKey, X509Certificate } from "node:crypto";
import { CompactSign, compactVerify, decodeProtectedHeader } from "jose";
import { UmsError } from "../errors.js";
import type { PeerIdentity } from "../transfer/security.js";
import { findIssuer, type OwnIdentity, parseCertificates } from "./identity.js";

/** What the source says it has decided. */
export interface CommitClaims {
  serviceId: string;
  migrationId: string;
  /** The epoch that the destination owns by it. */
  epoch: number;
  /** Manifest digest of the checkpoint. */
  digest: string;
  /** Peer names; the destination's is empty where the source never learnt it. */
  source: string;
  destination: string;
  /** When it was signed, RFC 3339. */
  at: string;
}

const algorithm = "ES256";
/** Keeps it apart from anything else that might be signed with the same key. */
const type = "ums-commit";
/** A certificate is about 1.5 KB; a longer text is something else. */
const maxChars = 16_384;

/** @throws ERR_PKI when our key is not EC P-256 */
export async function signCommit(own: OwnIdentity, claims: CommitClaims): Promise<string> {
  const x5c = parseCertificates(own.cert).map(({ raw }) => raw.toString("base64"));
  try {
    return await new CompactSign(Buffer.from(JSON.stringify(claims)))
      .setProtectedHeader({ alg: algorithm, typ: type, x5c })
      .sign(createPrivateKey(own.key));
  } catch (cause) {
    throw new UmsError("ERR_PKI", "our key cannot sign a commit: it must be EC P-256", {
      hint: "ums pki issue NAME makes a fitting set of files",
      cause,
    });
  }
}

/**
 * Reads a certificate and who signed it. Whether it fits anything here is the caller's question.
 * @throws ERR_SPEC_INVALID when it is no such certificate
 * @throws ERR_PEER_UNTRUSTED when the signature is wrong, or not made under our authority
 * @throws ERR_PEER_IDENTITY when the signer is no peer, or speaks for another source
 */
export async function verifyCommit(
  text: string,
  own: OwnIdentity,
): Promise<{ claims: CommitClaims; signer: PeerIdentity }> {
  const jws = text.trim();
  const leaf = readSigner(jws);
  if (findIssuer(leaf, parseCertificates(own.ca)) === undefined) {
    throw untrusted(`it was signed by ${leaf.subject}, which is not of our authority`);
  }
  const claims = readClaims(await verified(jws, leaf));
  const atMs = Date.parse(claims.at);
  // Not today's date: a doubt may last longer than a certificate.
  if (!(atMs >= Date.parse(leaf.validFrom) && atMs <= Date.parse(leaf.validTo))) {
    throw untrusted(`the signer's certificate was not valid on ${claims.at}`);
  }
  const signer = own.identify(leaf);
  if (signer.role !== "peer" || signer.name !== claims.source) {
    const who = `${signer.role} ${signer.name}`;
    throw new UmsError("ERR_PEER_IDENTITY", `${who} may not commit for ${claims.source}`);
  }
  return { claims, signer };
}

function readSigner(jws: string): X509Certificate {
  try {
    if (jws.length > maxChars) throw new RangeError("it is too long");
    const { alg, typ, x5c } = decodeProtectedHeader(jws);
    if (alg !== algorithm || typ !== type) throw new TypeError(`its type is ${typ}, ${alg}`);
    const [first] = x5c ?? [];
    if (first === undefined) throw new TypeError("it carries no certificate");
    return new X509Certificate(Buffer.from(first, "base64"));
  } catch (cause) {
    throw new UmsError("ERR_SPEC_INVALID", `this is no COMMIT: ${(cause as Error).message}`, {
      hint: "`ums commit export` at the source prints one",
      cause,
    });
  }
}

async function verified(jws: string, leaf: X509Certificate): Promise<Uint8Array> {
  try {
    const options = { algorithms: [algorithm] };
    return (await compactVerify(jws, leaf.publicKey, options)).payload;
  } catch (cause) {
    throw untrusted("its signature is wrong: it was changed after it was signed", cause);
  }
}

function readClaims(payload: Uint8Array): CommitClaims {
  const claims = JSON.parse(Buffer.from(payload).toString("utf8")) as CommitClaims;
  const texts = ["serviceId", "migrationId", "digest", "source", "destination", "at"] as const;
  const wrong = texts.filter((name) => typeof claims[name] !== "string");
  if (wrong.length === 0 && Number.isSafeInteger(claims.epoch)) return claims;
  throw new UmsError("ERR_SPEC_INVALID", `the COMMIT lacks ${[...wrong, "epoch"][0]}`);
}

function untrusted(why: string, cause?: unknown): UmsError {
  return new UmsError("ERR_PEER_UNTRUSTED", `this COMMIT cannot be trusted: ${why}`, {
    hint: "export it again at the source, and carry it over unchanged",
    cause,
  });
}
