/** Connections to other supervisors. */
import type { Duplex } from "node:stream";
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
import { serverIdentityCheck } from "../transfer/security.js";

export interface PeerLinks {
  /** Resolves and pins the address, checks the identity. @throws ERR_PEER_*, ERR_CONFIG_INVALID */
  connect(destination: DestinationAddress): Promise<PeerLink>;
  /** What a source decided; undefined when it cannot be reached. */
  ask(source: DestinationAddress, ref: Ref): Promise<QueryAnswer | undefined>;
  /** A relay stream to where a service that left by migration `ref` is. @throws ERR_PEER_* */
  openRelay(destination: DestinationAddress, ref: Ref): Promise<Duplex>;
}

export function createPeerLinks(
  identity: IdentityStore,
  ownAddresses: () => readonly string[],
  onUnreachable: (error: unknown) => void,
  faults: Faults,
): PeerLinks {
  async function open(destination: DestinationAddress): Promise<{ peer: Peer; host: string }> {
    const { host, port } = await resolveAddress(destination.address, {
      own: ownAddresses(),
    });
    const own = identity.current();
    const tls: PeerTls = {
      ca: Buffer.from(own.ca),
      cert: Buffer.from(own.cert),
      key: Buffer.from(own.key),
      checkServerIdentity: serverIdentityCheck(own, destination.name) as never,
    };
    const target = host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
    return { peer: connectPeer(target, tls, faults), host };
  }

  async function connect(destination: DestinationAddress): Promise<PeerLink> {
    const { peer, host } = await open(destination);
    return {
      peer,
      openStream: (port, header, signal) =>
        openDataStream({
          host,
          port,
          header,
          ...(signal === undefined ? {} : { signal }),
          tls: () => identity.current(),
          ...(destination.name === undefined ? {} : { expectedPeer: destination.name }),
        }),
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
