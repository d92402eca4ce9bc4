/**
 * This side's certificates, and whom the other side's speak for.
 *
 * What is checked of a peer: the chain to our authority (by TLS itself) and the `ums://` identity
 * (here). What is not: host names.
 */
import { createPrivateKey, X509Certificate } from "node:crypto";
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { UmsError } from "../errors.js";
import type { PeerIdentity, TlsIdentity } from "../transfer/security.js";
import { identityScheme, parseIdentityUri } from "./names.js";

/** The content of a TLS directory, checked. */
export interface OwnIdentity extends TlsIdentity {
  /** Whom our own certificate speaks for. */
  self: PeerIdentity;
  /** When it ends, milliseconds since 1970. */
  notAfterMs: number;
}

export interface IdentityStore {
  /**
   * The identity valid now; reads the files again when one of them has changed. The same object as
   * before while nothing has.
   */
  current(): OwnIdentity;
}

export interface IdentityStoreOptions {
  /**
   * Told when changed files cannot be used (half written, wrong key). The identity read before
   * stays in use: a bad renewal must not cut off a peer in the middle of a migration.
   */
  onReloadFailed?: (error: UmsError) => void;
}

/**
 * Opens a directory with `ca.crt`, `tls.crt` and `tls.key`.
 * @throws ERR_PKI as {@link readIdentity}
 */
export function openIdentity(directory: string, options: IdentityStoreOptions = {}): IdentityStore {
  let seen = fingerprint(directory);
  let identity = readIdentity(directory);
  return {
    current() {
      const now = fingerprint(directory);
      if (now === seen) return identity;
      seen = now;
      try {
        identity = readIdentity(directory);
      } catch (error) {
        options.onReloadFailed?.(UmsError.from(error));
      }
      return identity;
    },
  };
}

/**
 * Reads and checks a TLS directory.
 * @throws ERR_PKI when a file is missing or malformed, the key is not the certificate's, the
 *   certificate is not (yet or any more) valid, is not signed by `ca.crt`, or has no `ums://` name
 */
export function readIdentity(directory: string): OwnIdentity {
  const ca = readPem(directory, "ca.crt");
  const cert = readPem(directory, "tls.crt");
  const key = readPem(directory, "tls.key");
  const authorities = parse(directory, "ca.crt", () => parseCertificates(ca));
  const [own] = parse(directory, "tls.crt", () => parseCertificates(cert));
  const privateKey = parse(directory, "tls.key", () => createPrivateKey(key));
  if (own === undefined || authorities.length === 0) {
    throw unusable(directory, `${own === undefined ? "tls.crt" : "ca.crt"} holds no certificate`);
  }
  if (!own.checkPrivateKey(privateKey)) {
    throw unusable(directory, "tls.key is not the key of tls.crt");
  }
  const issuer = findIssuer(own, authorities);
  if (issuer === undefined) throw unusable(directory, "tls.crt is not signed by ca.crt");
  checkPeriod(directory, "ca.crt", issuer);
  checkPeriod(directory, "tls.crt", own);
  const self = parse(directory, "tls.crt", () => parseIdentity(own));
  return { ca, cert, key, self, notAfterMs: Date.parse(own.validTo), identify: parseIdentity };
}

/**
 * Reads whom a certificate speaks for. Give it verified certificates only: this looks at the name,
 * not at the signature. Node quotes an alternative name that holds a separator (CVE-2021-44532);
 * ours never do, so a certificate with a quoted one is refused, and splitting the rest is safe.
 * @throws ERR_PEER_IDENTITY when it has no `ums://` URI, more than one, or a malformed one
 */
export function parseIdentity(certificate: { readonly raw: Buffer }): PeerIdentity {
  const { subjectAltName = "", subject } = new X509Certificate(certificate.raw);
  const prefix = `URI:${identityScheme}`;
  const uris = subjectAltName
    .split(", ")
    .filter((name) => name.startsWith(prefix))
    .map((name) => name.slice("URI:".length));
  const [uri] = uris;
  const isClear = uris.length === 1 && !subjectAltName.includes('"');
  const identity = uri !== undefined && isClear ? parseIdentityUri(uri) : undefined;
  if (identity === undefined) {
    const found = uris.length === 0 ? "no ums:// name" : `the names ${uris.join(", ")}`;
    throw new UmsError("ERR_PEER_IDENTITY", `the certificate of ${subject} has ${found}`, {
      hint: "issue one with: ums pki issue NAME",
    });
  }
  return identity;
}

/** The authority that signed a certificate; undefined: none of these. */
export function findIssuer(
  certificate: X509Certificate,
  authorities: readonly X509Certificate[],
): X509Certificate | undefined {
  return authorities.find(
    (one) => certificate.checkIssued(one) && certificate.verify(one.publicKey),
  );
}

/** Changes when a file is replaced or written; also when a Kubernetes secret's link is switched. */
function fingerprint(directory: string): string {
  return ["ca.crt", "tls.crt", "tls.key"]
    .map((name) => {
      const stat = statSync(join(directory, name), { throwIfNoEntry: false });
      return stat === undefined ? "none" : `${stat.ino}:${stat.size}:${stat.mtimeMs}`;
    })
    .join(" ");
}

function readPem(directory: string, name: string): string {
  return parse(directory, name, () => readFileSync(join(directory, name), "utf8"));
}

/** The certificates in a PEM text, in its order. */
export function parseCertificates(pem: string): X509Certificate[] {
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  return blocks.map((block) => new X509Certificate(block));
}

function checkPeriod(directory: string, name: string, certificate: X509Certificate): void {
  const nowMs = Date.now();
  if (nowMs > Date.parse(certificate.validTo)) {
    throw unusable(directory, `${name} expired on ${certificate.validTo}`);
  }
  if (nowMs < Date.parse(certificate.validFrom)) {
    throw unusable(directory, `${name} is valid only from ${certificate.validFrom}`);
  }
}

function parse<T>(directory: string, name: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    const missing = (error as NodeJS.ErrnoException).code === "ENOENT";
    const reason = missing ? "is not there" : `cannot be used: ${(error as Error).message}`;
    throw unusable(directory, `${name} ${reason}`, error);
  }
}

function unusable(directory: string, reason: string, cause?: unknown): UmsError {
  return new UmsError("ERR_PKI", `TLS directory ${directory}: ${reason}`, {
    hint: "ums pki issue NAME makes a fitting set of files",
    cause,
  });
}
