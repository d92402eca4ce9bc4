/**
 * What a TLS connection between two outer containers needs and checks, for the data channel and for
 * gRPC alike. peer/ reads the certificates; here is only what the wire has to know of them.
 */
import { constants, type X509Certificate } from "node:crypto";
import type { ConnectionOptions, SecureContextOptions } from "node:tls";
import { UmsError } from "../errors.js";

/** `observer`: may look at what an operator may order. */
export type PeerRole = "peer" | "operator" | "observer";

/** Whom a certificate speaks for. */
export interface PeerIdentity {
  role: PeerRole;
  name: string;
}

/** The certificates of one side at one moment. PEM. */
export interface TlsIdentity {
  ca: string;
  cert: string;
  key: string;
  /**
   * Reads whom a peer's certificate (already verified against `ca`) speaks for.
   * @throws ERR_PEER_IDENTITY when it speaks for nobody
   */
  identify(certificate: Pick<X509Certificate, "raw">): PeerIdentity;
}

/**
 * Hands out the identity valid now. Asked for every new connection, so that renewed files are used
 * without a restart; must return the same object while nothing has changed.
 */
export type IdentitySource = () => TlsIdentity;

/**
 * Our certificate, our authority only, and TLS 1.3 only: both ends are ours, so nothing older is
 * ever needed. No session tickets: a resumed session would carry a verdict from before a
 * certificate was replaced, and a full handshake costs milliseconds (src/transfer/README.md).
 */
export function secureContextOptions(identity: TlsIdentity): SecureContextOptions {
  return {
    ca: identity.ca,
    cert: identity.cert,
    key: identity.key,
    minVersion: "TLSv1.3",
    maxVersion: "TLSv1.3",
    secureOptions: constants.SSL_OP_NO_TICKET,
  };
}

/**
 * The check that takes the place of the host name check: the server must be an outer container,
 * and the expected one. What it returns becomes the connection's error, with its code.
 */
export function serverIdentityCheck(
  identity: TlsIdentity,
  expectedPeer: string | undefined,
): NonNullable<ConnectionOptions["checkServerIdentity"]> {
  return (_host, certificate) => {
    try {
      expectPeer(identity.identify(certificate), expectedPeer);
      return undefined;
    } catch (error) {
      return UmsError.from(error);
    }
  };
}

/**
 * Checks that the other side is an outer container, and the one meant.
 * @throws ERR_PEER_IDENTITY when it is an operator, or has another name than expected
 */
export function expectPeer(identity: PeerIdentity, expectedPeer?: string): void {
  if (identity.role !== "peer") {
    throw new UmsError("ERR_PEER_IDENTITY", `${identity.role} "${identity.name}" is not a peer`);
  }
  if (expectedPeer !== undefined && identity.name !== expectedPeer) {
    throw new UmsError(
      "ERR_PEER_IDENTITY",
      `the peer is "${identity.name}", expected was "${expectedPeer}"`,
    );
  }
}
