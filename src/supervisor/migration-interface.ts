/** The Migration Interface: servers for operators, for peers and for data streams. */
import { existsSync } from "node:fs";
import type { StreamKind } from "../approach/contract.js";
import type { Config } from "../config.js";
import { authenticateBy, localOperator } from "../grpc/identity.js";
import { createMigrationService, type MigrationServiceDeps } from "../grpc/migration-service.js";
import { createPeerService } from "../grpc/peer-service.js";
import { type GrpcServer, listenLocal, listenNetwork } from "../grpc/server.js";
import type { Logger } from "../lib/log.js";
import type { DestinationRunner } from "../migration/destination-role.js";
import type { Journal } from "../migration/journal.js";
import type { IdentityStore } from "../peer/identity.js";
import { type DataServer, listenData } from "../transfer/server.js";
import type { Authorisation } from "./authorisation.js";

/** Twin of the CLI's default. */
export const localSocketPath = "/run/ums/ums.sock";

export interface InterfaceDeps {
  config: Config;
  log: Logger;
  journal: Journal;
  destination: DestinationRunner;
  /** What operators may ask; who they are is found out here. */
  operator: Omit<MigrationServiceDeps, "authenticate">;
  /** Resets what the peer of this name relays; answers how many connections. */
  resetFlows(peerName: string): Promise<number>;
  /** Undefined without certificates: then only the local socket is served. */
  network: { identity: IdentityStore; authorisation: Authorisation } | undefined;
}

/** @returns the servers, in the order in which they were opened */
export async function openInterface(deps: InterfaceDeps): Promise<(GrpcServer | DataServer)[]> {
  const { config, log, operator, network } = deps;
  const local = await listenLocal(localSocketPath, {
    migration: createMigrationService({ ...operator, authenticate: localOperator }),
  });
  if (network === undefined) return [local];
  const data = await openData(deps, network.identity);
  const authenticate = authenticateBy(network.identity);
  const services = {
    migration: createMigrationService({ ...operator, authenticate }),
    peer: createPeerService({
      authenticate,
      destination: deps.destination,
      ...recordsOf(deps.journal),
      dataPort: data.port,
      resetFlows: deps.resetFlows,
      publicEndpoint: config.UMS_PUBLIC_ENDPOINT ?? "",
    }),
  };
  const host = anyAddress() === "::" ? "[::]" : anyAddress();
  const address = { host, port: config.UMS_PEER_PORT };
  const { identity, authorisation } = network;
  const peers = await listenNetwork(address, identity.current(), services, authorisation.roles);
  log.info({ peerPort: config.UMS_PEER_PORT, dataPort: data.port }, "Migration Interface open");
  return [local, data, peers];
}

function openData(deps: InterfaceDeps, identity: IdentityStore): Promise<DataServer> {
  const { config, destination, log } = deps;
  return listenData({
    host: anyAddress(),
    port: config.UMS_DATA_PORT,
    tls: () => identity.current(),
    authorize: ({ migrationId }, peer) => destination.checkSource(migrationId, peer.name),
    onStream: ({ migrationId, kind, name }, stream, peer) =>
      destination.accept(migrationId, kind as StreamKind, name, stream, peer.name),
    // Streams that were opened in advance and not needed are cancelled at the end of every move.
    onFailed: ({ code, message }, remote) =>
      log[code === "ERR_CANCELLED" ? "debug" : "warn"]({ code, remote }, message),
  });
}

/** The newest record of a migration on either half, however long ago. */
function recordsOf(journal: Journal) {
  return {
    departure: (migrationId: string) => {
      const record = journal.find("source", migrationId);
      return record?.role === "source" ? record.state : undefined;
    },
    arrival: (migrationId: string) => {
      const record = journal.find("destination", migrationId);
      return record?.role === "destination" ? record.state : undefined;
    },
  };
}

/** Both families, or IPv4 alone on a kernel that was started without IPv6 (ipv6.disable=1). */
function anyAddress(): string {
  return existsSync("/proc/net/if_inet6") ? "::" : "0.0.0.0";
}
