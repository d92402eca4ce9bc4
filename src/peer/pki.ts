/**
 * The certificate authority of one installation: a directory with `ca.crt` and `ca.key`, and the
 * certificates it issues, in files named as in a Kubernetes TLS secret (`ca.crt`, `tls.crt`,
 * `tls.key`). EC P-256, because a handshake signs once with it in well under a millisecond.
 */
import "reflect-metadata";
import { randomBytes, webcrypto } from "node:crypto";
import { mkdir, open, readFile, rm } from "node:fs/promises";
import { isIP } from "node:net";
import { join } from "node:path";
import * as x509 from "@peculiar/x509";
import { UmsError } from "../errors.js";
import { isNotFound, syncDirectory } from "../lib/files.js";
import type { PeerRole } from "../transfer/security.js";
import { formatIdentity, isPeerName } from "./names.js";

const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
const authorityDays = 3_650;
/** The longest that Apple's and most other verifiers accept; ours would accept more. */
const defaultDays = 825;
const dayMs = 86_400_000;
/** Certificates are valid from a little before now, so that a slow clock elsewhere takes them. */
const clockSkewMs = 5 * 60_000;

const caCertFile = "ca.crt";
const caKeyFile = "ca.key";

/**
 * Makes a new authority in `directory`: `ca.crt` and `ca.key` (mode 0600), valid ten years. It can
 * issue end certificates only (path length 0).
 * @throws ERR_PKI when one of the files is there already
 */
export async function initAuthority(directory: string): Promise<void> {
  const keys = await generateKeys();
  const certificate = await x509.X509CertificateGenerator.createSelfSigned(
    {
      serialNumber: serialNumber(),
      name: [{ CN: [`UMS authority ${randomBytes(4).toString("hex")}`] }],
      ...validity(authorityDays),
      keys,
      signingAlgorithm: algorithm,
      extensions: [
        new x509.BasicConstraintsExtension(true, 0, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign, true),
        await x509.SubjectKeyIdentifierExtension.create(keys.publicKey, false, webcrypto),
      ],
    },
    webcrypto,
  );
  await writeNew(directory, [
    { name: caKeyFile, content: await privateKeyPem(keys.privateKey), mode: 0o600 },
    { name: caCertFile, content: `${certificate.toString("pem")}\n`, mode: 0o644 },
  ]);
}

export interface IssueOptions {
  /** The authority's directory. */
  directory: string;
  /** Name of the peer or operator: lower-case letters, digits, dot, dash; at most 63 characters. */
  name: string;
  /** Default `peer`. */
  role?: PeerRole;
  /** Where the three files go. */
  out: string;
  /** 1 to 3,650, default 825; cut to the authority's own end. */
  days?: number;
  /** Host names and IP addresses for other tools that check them; UMS does not. */
  sans?: readonly string[];
}

/**
 * Issues a certificate for one peer or operator into `out`: `ca.crt`, `tls.crt`, `tls.key` (0600).
 * @throws ERR_PKI when the authority cannot be read, the name or the days are not allowed, or one
 *   of the files is there already
 */
export async function issueCertificate(options: IssueOptions): Promise<void> {
  const { name, role = "peer", days = defaultDays } = options;
  if (!isPeerName(name)) {
    throw new UmsError("ERR_PKI", `"${name}" cannot be the name of a peer`, {
      hint: "use lower-case letters, digits, dots and dashes, at most 63 characters",
    });
  }
  if (!Number.isInteger(days) || days < 1 || days > authorityDays) {
    throw new UmsError("ERR_PKI", `a certificate is valid 1 to ${authorityDays} days, not ${days}`);
  }
  const authority = await readAuthority(options.directory);
  const keys = await generateKeys();
  const period = validity(days);
  const certificate = await x509.X509CertificateGenerator.create(
    {
      serialNumber: serialNumber(),
      subject: [{ CN: [name] }],
      issuer: authority.certificate.subjectName,
      notBefore: later(period.notBefore, authority.certificate.notBefore),
      notAfter: earlier(period.notAfter, authority.certificate.notAfter),
      publicKey: keys.publicKey,
      signingKey: authority.key,
      signingAlgorithm: algorithm,
      extensions: [
        new x509.BasicConstraintsExtension(false, undefined, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
        // Every outer container is server and client.
        new x509.ExtendedKeyUsageExtension([
          x509.ExtendedKeyUsage.serverAuth,
          x509.ExtendedKeyUsage.clientAuth,
        ]),
        new x509.SubjectAlternativeNameExtension([
          { type: "url", value: formatIdentity({ role, name }) },
          ...(options.sans ?? []).map(alternativeName),
        ]),
        await x509.SubjectKeyIdentifierExtension.create(keys.publicKey, false, webcrypto),
        await x509.AuthorityKeyIdentifierExtension.create(authority.certificate, false, webcrypto),
      ],
    },
    webcrypto,
  );
  await writeNew(options.out, [
    { name: "tls.key", content: await privateKeyPem(keys.privateKey), mode: 0o600 },
    { name: "tls.crt", content: `${certificate.toString("pem")}\n`, mode: 0o644 },
    { name: caCertFile, content: authority.pem, mode: 0o644 },
  ]);
}

interface Authority {
  certificate: x509.X509Certificate;
  key: webcrypto.CryptoKey;
  pem: string;
}

async function readAuthority(directory: string): Promise<Authority> {
  const hint = `make an authority with: ums pki init --dir ${directory}`;
  try {
    const pem = await readFile(join(directory, caCertFile), "utf8");
    const keyPem = await readFile(join(directory, caKeyFile), "utf8");
    const [der] = x509.PemConverter.decode(keyPem);
    if (der === undefined) throw new Error(`${caKeyFile} holds no key`);
    const key = await webcrypto.subtle.importKey("pkcs8", der, algorithm, false, ["sign"]);
    return { certificate: new x509.X509Certificate(pem), key, pem };
  } catch (error) {
    const reason = isNotFound(error) ? "it is not there" : (error as Error).message;
    throw new UmsError("ERR_PKI", `cannot read the authority in ${directory}: ${reason}`, {
      hint,
      cause: error,
    });
  }
}

async function generateKeys(): Promise<webcrypto.CryptoKeyPair> {
  return webcrypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
}

async function privateKeyPem(key: webcrypto.CryptoKey): Promise<string> {
  const der = await webcrypto.subtle.exportKey("pkcs8", key);
  return `${x509.PemConverter.encode(der, "PRIVATE KEY")}\n`;
}

function validity(days: number): { notBefore: Date; notAfter: Date } {
  const nowMs = Date.now();
  return {
    notBefore: new Date(nowMs - clockSkewMs),
    notAfter: new Date(nowMs + days * dayMs),
  };
}

function earlier(a: Date, b: Date): Date {
  return a < b ? a : b;
}

function later(a: Date, b: Date): Date {
  return a > b ? a : b;
}

/** 127 random bits: positive without padding, as RFC 5280 4.1.2.2 asks. */
function serialNumber(): string {
  const bytes = randomBytes(16);
  bytes[0] = ((bytes[0] ?? 0) & 0x7f) | 0x40;
  return bytes.toString("hex");
}

function alternativeName(value: string): x509.JsonGeneralName {
  return { type: isIP(value) === 0 ? "dns" : "ip", value };
}

interface NewFile {
  name: string;
  content: string;
  mode: number;
}

/**
 * Writes files that must not be there yet: overwriting an authority's key makes every certificate
 * it issued useless. When one is refused, those written before it are removed again.
 */
async function writeNew(directory: string, files: readonly NewFile[]): Promise<void> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const written: string[] = [];
  try {
    for (const { name, content, mode } of files) {
      const path = join(directory, name);
      const file = await open(path, "wx", mode);
      written.push(path);
      try {
        await file.writeFile(content);
        await file.sync();
      } finally {
        await file.close();
      }
    }
  } catch (error) {
    await Promise.all(written.map((path) => rm(path, { force: true })));
    const { code, path, message } = error as NodeJS.ErrnoException;
    const reason = code === "EEXIST" ? `${path} is there already` : message;
    throw new UmsError("ERR_PKI", `cannot write the certificates: ${reason}`, {
      hint: "move it away first, or choose another directory",
      cause: error,
    });
  }
  await syncDirectory(directory);
}
