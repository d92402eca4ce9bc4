/** Who calls: by the certificate of a TLS connection, or anybody who can open the local socket. */
import { X509Certificate } from "node:crypto";
import { UmsError } from "../errors.js";
import type { IdentityStore } from "../peer/identity.js";
import { thumbprintOf } from "../peer/token.js";
import type { PeerIdentity } from "../transfer/security.js";

/** The part of a gRPC call that tells who calls. */
export interface IncomingCall {
  getPeer(): string;
  getAuthContext(): { sslPeerCertificate?: { raw: Buffer } };
}

export interface CertifiedIdentity extends PeerIdentity {
  /** `x5t#S256` of the certificate shown; undefined on the local socket. */
  thumbprint: string | undefined;
}

export type Authenticate = (call: IncomingCall) => CertifiedIdentity;

/** @throws ERR_PEER_UNTRUSTED, ERR_PEER_IDENTITY when the certificate speaks for nobody */
export function authenticateBy(store: IdentityStore): Authenticate {
  return (call) => {
    const shown = call.getAuthContext().sslPeerCertificate;
    if (shown === undefined) {
      throw new UmsError("ERR_PEER_UNTRUSTED", "the caller shows no certificate");
    }
    const certificate = new X509Certificate(shown.raw);
    return { ...store.current().identify(certificate), thumbprint: thumbprintOf(certificate) };
  };
}

/** The unix socket lies in a directory that only root can enter. */
export const localOperator: Authenticate = () => ({
  role: "operator",
  name: "local",
  thumbprint: undefined,
});
