/** gRPC servers: one for peers on the network, one for operators on a local socket. */
import { mkdir, rm } from "node:fs/promises";
import { dirname } from "node:path";
import {
  Server,
  ServerCredentials,
  type ServerInterceptor,
  type ServiceDefinition,
} from "@grpc/grpc-js";
import { HealthImplementation } from "grpc-health-check";
import { UmsError } from "../errors.js";
import { type MigrationServer, MigrationService } from "../gen/ums/migration/v1/migration.js";
import { type PeerServer, PeerService } from "../gen/ums/migration/v1/peer.js";
import { within } from "../lib/deadline.js";
import type { TlsIdentity } from "../transfer/security.js";
import { addReflection } from "./reflection.js";
import { enforceRoles, type RoleRules } from "./roles.js";

export interface GrpcServer {
  close(): Promise<void>;
}

export interface GrpcServices {
  migration: MigrationServer;
  /** Absent on the local socket. */
  peer?: PeerServer;
}

/** A service specification with all mounts and labels is some kilobytes. */
const maxMessageBytes = 1024 * 1024;
/** A migration has one call open at a time; watchers of one operator have some. */
const maxCallsPerConnection = 64;
const closeTimeoutMs = 2_000;

/**
 * Serves peers and remote operators; TLS 1.3 with certificates on both sides, and each role its
 * own calls.
 */
export function listenNetwork(
  address: { host: string; port: number },
  identity: TlsIdentity,
  services: GrpcServices,
  roles: RoleRules,
): Promise<GrpcServer> {
  const { ca, cert, key } = identity;
  const credentials = ServerCredentials.createSsl(
    Buffer.from(ca),
    [{ cert_chain: Buffer.from(cert), private_key: Buffer.from(key) }],
    true,
  );
  const interceptors = [enforceRoles(roles)];
  return listen(`${address.host}:${address.port}`, credentials, services, interceptors);
}

/** Serves operators in this container, by file permissions. */
export async function listenLocal(path: string, services: GrpcServices): Promise<GrpcServer> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  await rm(path, { force: true });
  return listen(`unix:${path}`, ServerCredentials.createInsecure(), services);
}

async function listen(
  address: string,
  credentials: ServerCredentials,
  services: GrpcServices,
  interceptors: ServerInterceptor[] = [],
): Promise<GrpcServer> {
  const server = new Server({
    interceptors,
    "grpc.max_receive_message_length": maxMessageBytes,
    "grpc.max_concurrent_streams": maxCallsPerConnection,
    "grpc.keepalive_time_ms": 10_000,
    "grpc.keepalive_timeout_ms": 10_000,
  });
  const health = new HealthImplementation({
    "": "SERVING",
    "ums.migration.v1.Migration": "SERVING",
  });
  health.addToServer(server);
  server.addService(MigrationService as ServiceDefinition, services.migration as never);
  if (services.peer !== undefined) {
    server.addService(PeerService as ServiceDefinition, services.peer as never);
  }
  // Whoever reaches the port need not learn from us what could be called there.
  if (services.peer === undefined) await addReflection(server);
  await new Promise<void>((resolve, reject) => {
    server.bindAsync(address, credentials, (error) => {
      if (error === null) resolve();
      else
        reject(new UmsError("ERR_CONFIG_INVALID", `cannot listen on ${address}`, { cause: error }));
    });
  });
  return {
    async close() {
      health.setStatus("", "NOT_SERVING");
      const shutdown = new Promise<void>((resolve) => server.tryShutdown(() => resolve()));
      await within(closeTimeoutMs, "closing the gRPC server", shutdown).catch(() =>
        server.forceShutdown(),
      );
    },
  };
}
