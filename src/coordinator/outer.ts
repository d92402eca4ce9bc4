/** Calls to outer containers, with the Coordinator's own certificate. */
import { connectRemote, type MigrateOrder, type OperatorClient } from "../grpc/operator-client.js";
import type { FactsView, ProgressView, ResultView, ServiceStatus } from "../migration/view.js";
import type { Endpoint } from "../orchestrators/contract.js";
import { resolveAddress } from "../peer/address.js";
import type { IdentityStore } from "../peer/identity.js";

/** `address`: of the Migration Interface, `host:port`. All throw the supervisor's own errors. */
export interface OuterContainers {
  status(address: string): Promise<ServiceStatus>;
  facts(address: string): Promise<FactsView>;
  migrate(
    address: string,
    order: MigrateOrder,
    onProgress: (progress: ProgressView) => void,
  ): Promise<ResultView>;
  cancel(address: string, supervisorMigrationId: string): Promise<string>;
  drainRelay(
    address: string,
    order: { deadlineMs: number; reset: boolean },
  ): Promise<{ flows: number }>;
}

export function connectOuterContainers(identity: () => IdentityStore): OuterContainers {
  async function using<T>(address: string, call: (client: OperatorClient) => Promise<T>) {
    const { host, port } = await resolveAddress(address, { allowOwn: true });
    const client = connectRemote(hostPort(host, port), identity().current());
    try {
      return await call(client);
    } finally {
      client.close();
    }
  }
  return {
    status: (address) => using(address, (client) => client.status()),
    facts: (address) => using(address, (client) => client.facts()),
    migrate: (address, order, onProgress) =>
      using(address, (client) => client.migrate(order, onProgress)),
    cancel: (address, id) => using(address, (client) => client.cancel(id)),
    drainRelay: (address, order) => using(address, (client) => client.drainRelay(order)),
  };
}

/** `host:port`, an IPv6 address in brackets. */
export function peerAddressOf({ host, peerPort }: Endpoint): string {
  return hostPort(host, peerPort);
}

function hostPort(host: string, port: number): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}
