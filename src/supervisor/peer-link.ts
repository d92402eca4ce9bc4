/** Connections to other supervisors. */
import type { X509Certificate } from "node:crypto";
import type { Duplex } from "node:stream";
import { UmsError } from "../errors.js";
import type { Faults } from "../lib/faults.js";
import type { DestinationAddress, PeerLink } from "../migration/source-attempt.js";
import { resolveAddress } from "../peer/address.js";
import {
  connectPeer,
  type Peer,
  type PeerTls,
  type QueryAnswer,
  type Ref,
} from "../peer/client.js";
import type { IdentityStore } from "../peer/identity.js";
import { openDataStream } from "../transfer/client.js";
import { expectPeer } from "../transfer/security.js";

export interface PeerLinks {
  /** Resolves and pins the address, checks the identity. @throws ERR_PEER_*, ERR_CONFIG_INVALID */
  connect(destination: DestinationAddress): Promise<PeerLink>;
  /** What a source decided; undefined when it cannot be reached. */
  ask(source: DestinationAddress, ref: Ref): Promise<QueryAnswer | undefined>;
  /** A relay stream to where a service that left by migration `ref` is. @throws ERR_PEER_* */
  openRelay(destination: DestinationAddress, ref: Ref): Promise<Duplex>;
}

interface OpenPeer {
  peer: Peer;
  /** IP address. */
  host: string;
  /** Of the peer's certificate, as soon as it is known. */
  peerName(): string | undefined;
}

export function createPeerLinks(
  identity: IdentityStore,
  ownAddresses: () => readonly string[],
  onUnreachable: (error: unknown) => void,
  faults: Faults,
): PeerLinks {
  async function open(destination: DestinationAddress): Promise<OpenPeer> {
    const { host, port } = await resolveAddress(destination.address, {
      own: ownAddresses(),
    });
    const own = identity.current();
    // Whoever answers first is the one: no later connection of this link goes to another.
    let name = destination.name;
    const checkServerIdentity = (_host: string, certificate: Pick<X509Certificate, "raw">) => {
      try {
        const found = own.identify(certificate);
        expectPeer(found, name);
        expectAllowed(found.name, destination);
        name = found.name;
        return undefined;
      } catch (error) {
        return UmsError.from(error);
      }
    };
    const tls: PeerTls = {
      ca: Buffer.from(own.ca),
      cert: Buffer.from(own.cert),
      key: Buffer.from(own.key),
      checkServerIdentity: checkServerIdentity as never,
    };
    const target = host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
    return { peer: connectPeer(target, tls, faults), host, peerName: () => name };
  }

  async function connect(destination: DestinationAddress): Promise<PeerLink> {
    const { peer, host, peerName } = await open(destination);
    return {
      peer,
      peerName,
      openStream: (port, header, signal) => {
        const expectedPeer = peerName();
        return openDataStream({
          host,
          port,
          header,
          ...(signal === undefined ? {} : { signal }),
          tls: () => identity.current(),
          ...(expectedPeer === undefined ? {} : { expectedPeer }),
        });
      },
      close: () => peer.close(),
    };
  }

  return {
    connect,
    async openRelay(destination, ref) {
      const link = await connect(destination);
      try {
        const { dataPort } = await link.peer.query(ref);
        const { migrationId } = ref;
        return await link.openStream(dataPort, { migrationId, kind: "relay", name: "" });
      } finally {
        link.close();
      }
    },
    async ask(source, ref) {
      const { peer } = await open(source);
      try {
        return await peer.query(ref);
      } catch (error) {
        onUnreachable(error);
        return undefined;
      } finally {
        peer.close();
      }
    },
  };
}

/** peer/grpc-status.ts knows the message, because only that comes back from the TLS connection. */
function expectAllowed(name: string, { isAllowed = () => true }: DestinationAddress): void {
  if (isAllowed(name)) return;
  throw new UmsError("ERR_NOT_ALLOWED", `the peer "${name}" is not in UMS_ALLOW_TO`);
}
