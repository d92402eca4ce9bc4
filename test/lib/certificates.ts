/** Certificates for tests: real ones, made by our own authority, and some that are wrong. */
import "reflect-metadata";
import { webcrypto } from "node:crypto";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import * as x509 from "@peculiar/x509";
import { readIdentity } from "../../src/peer/identity.js";
import { initAuthority, issueCertificate } from "../../src/peer/pki.js";
import type { IdentitySource, PeerRole } from "../../src/transfer/security.js";

export interface TestAuthority {
  directory: string;
  /** Issues a certificate and returns its directory. */
  issue(name: string, role?: PeerRole): Promise<string>;
  /** Issues a certificate and loads it. */
  identity(name: string, role?: PeerRole): Promise<IdentitySource>;
}

/** Makes an authority in `directory`/ca. */
export async function makeAuthority(directory: string): Promise<TestAuthority> {
  const ca = join(directory, "ca");
  await initAuthority(ca);
  const issue = async (name: string, role: PeerRole = "peer") => {
    const out = join(directory, `${role}-${name}`);
    await issueCertificate({ directory: ca, name, out, role });
    return out;
  };
  return {
    directory: ca,
    issue,
    async identity(name, role) {
      const identity = readIdentity(await issue(name, role));
      return () => identity;
    },
  };
}

export interface OddCertificate {
  /** URIs in the subject alternative names. */
  uris: string[];
  notBefore: Date;
  notAfter: Date;
}

/** Signs a certificate with the authority's key that `ums pki issue` would never make. */
export async function issueOdd(
  authority: TestAuthority,
  out: string,
  { uris, notBefore, notAfter }: OddCertificate,
): Promise<void> {
  const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
  const caPem = await readFile(join(authority.directory, "ca.crt"), "utf8");
  const caKeyPem = await readFile(join(authority.directory, "ca.key"), "utf8");
  const signingKey = await webcrypto.subtle.importKey(
    "pkcs8",
    x509.PemConverter.decode(caKeyPem)[0] as ArrayBuffer,
    algorithm,
    false,
    ["sign"],
  );
  const keys = await webcrypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
  const certificate = await x509.X509CertificateGenerator.create(
    {
      subject: "CN=odd",
      issuer: new x509.X509Certificate(caPem).subjectName,
      notBefore,
      notAfter,
      publicKey: keys.publicKey,
      signingKey,
      signingAlgorithm: algorithm,
      extensions: [
        new x509.SubjectAlternativeNameExtension([
          { type: "dns", value: "odd.example" },
          ...uris.map((value): x509.JsonGeneralName => ({ type: "url", value })),
        ]),
      ],
    },
    webcrypto,
  );
  const key = await webcrypto.subtle.exportKey("pkcs8", keys.privateKey);
  await mkdir(out, { recursive: true });
  await writeFile(join(out, "ca.crt"), caPem);
  await writeFile(join(out, "tls.crt"), certificate.toString("pem"));
  await writeFile(join(out, "tls.key"), x509.PemConverter.encode(key, "PRIVATE KEY"));
}
