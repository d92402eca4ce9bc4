/** Who calls: by the certificate of a TLS connection, or anybody who can open the local socket. */
import { X509Certificate } from "node:crypto";
import type { Metadata } from "@grpc/grpc-js";
import { UmsError } from "../errors.js";
import type { IdentityStore } from "../peer/identity.js";
import type { PeerIdentity } from "../transfer/security.js";

/** The part of a gRPC call that tells who calls. */
export interface IncomingCall {
  metadata: Metadata;
  getPeer(): string;
  getAuthContext(): { sslPeerCertificate?: { raw: Buffer } };
}

export type Authorize = (call: IncomingCall) => PeerIdentity;

/** @throws ERR_PEER_UNTRUSTED, ERR_PEER_IDENTITY when the caller's certificate has another role */
export function requireRole(store: IdentityStore, role: PeerIdentity["role"]): Authorize {
  return (call) => {
    const certificate = call.getAuthContext().sslPeerCertificate;
    if (certificate === undefined) {
      throw new UmsError("ERR_PEER_UNTRUSTED", "the caller shows no certificate");
    }
    const caller = store.current().identify(new X509Certificate(certificate.raw));
    if (caller.role !== role) {
      throw new UmsError("ERR_PEER_IDENTITY", `${caller.role} ${caller.name} may not call this`, {
        hint: `it takes a certificate of role ${role} (ums pki issue)`,
      });
    }
    return caller;
  };
}

/** The unix socket lies in a directory that only root can enter. */
export const localOperator: Authorize = () => ({ role: "operator", name: "local" });
