import type Docker from "dockerode";
import { UmsError } from "../../errors.js";
import type { CreateOrder } from "../contract.js";
import { migrationLabel, portsLabel, supervisorPortCount } from "../platform.js";
import { type DockerApi, orMissing, refused, statusOf } from "./api.js";
import { createRequest, type OuterTls, type Privileges, type WriteOptions } from "./write.js";

/** A first pull of an outer image is 150 MB. */
const pullTimeoutMs = 600_000;

/** Ports of the engine's machine for supervisors, three for each outer container. */
export interface PortRange {
  first: number;
  last: number;
}

export interface CreateOptions {
  outerTls?: OuterTls;
  allowedBinds: readonly string[];
  /** Tried in this order; the first one the engine gives. */
  privileges: readonly Privileges[];
  /** Undefined: supervisors are not published. */
  ports?: PortRange | undefined;
}

export interface Created {
  id: string;
  /** The way it was granted; undefined when the container was there already. */
  privileges: Privileges | undefined;
}

/**
 * Creates and starts the container of an order, or finds the one that was made for its migration.
 * Whatever was made goes again when it fails.
 * @throws ERR_ORCHESTRATOR_REFUSED with the engine's words
 */
export async function createContainer(
  api: DockerApi,
  order: CreateOrder,
  options: CreateOptions,
): Promise<Created> {
  const existing = await findByMigration(api, order.migrationId);
  if (existing !== undefined && existing.State !== "created") {
    return { id: existing.Id, privileges: undefined };
  }
  // A Coordinator ended between create and start: nothing has run yet.
  if (existing !== undefined) await removeMade(api, existing.Id, order.migrationId);
  await checkRoom(api, order);
  await ensureImage(api, order.spec.image);
  const { privileges: ways, ports, ...rest } = options;
  for (const privileges of ways) {
    for (const firstPort of await freePorts(api, ports)) {
      const outcome = await startNew(api, order, { ...rest, privileges, firstPort });
      if (outcome === "lacks privileges") break;
      if (outcome !== "port taken") return { id: outcome.id, privileges };
    }
  }
  throw refused(
    `start ${order.spec.name}`,
    ports === undefined
      ? `the engine gives no outer container its privileges (${ways.join(", ")})`
      : `no three free ports from ${ports.first} to ${ports.last}, or no privileges`,
  );
}

/** Removes a container and the volumes that were made with it. Succeeds when all is gone. */
export async function removeMade(
  api: DockerApi,
  id: string,
  migrationId: string | undefined,
): Promise<void> {
  const removal = api.slow(`remove container ${id}`, (docker) =>
    docker.getContainer(id).remove({ force: true, v: true }),
  );
  await unlessStatus(await settled(orMissing(removal)), 409);
  // 409: somebody else is removing it; it is waited for, because its volumes are in use until then.
  const gone = api.slow(`the removal of container ${id}`, (docker) =>
    docker.getContainer(id).wait({ condition: "removed" }),
  );
  await orMissing(gone);
  if (migrationId !== undefined) await removeVolumes(api, migrationId);
}

/** Volumes that others use by now stay: they are no longer only ours. */
export async function removeVolumes(api: DockerApi, migrationId: string): Promise<void> {
  const filters = { label: [`${migrationLabel}=${migrationId}`] };
  const { Volumes } = await api.quick("the list of volumes", (docker) =>
    docker.listVolumes({ filters }),
  );
  for (const { Name } of Volumes ?? []) {
    const removal = api.slow(`remove volume ${Name}`, (docker) => docker.getVolume(Name).remove());
    await unlessStatus(await settled(orMissing(removal)), 409);
  }
}

async function findByMigration(
  api: DockerApi,
  migrationId: string,
): Promise<Docker.ContainerInfo | undefined> {
  const filters = { label: [`${migrationLabel}=${migrationId}`] };
  const [found] = await api.quick("the list of containers", (docker) =>
    docker.listContainers({ all: true, filters }),
  );
  return found;
}

/** Docker itself takes any memory limit: the service would find out when it needs the memory. */
async function checkRoom(api: DockerApi, { spec }: CreateOrder): Promise<void> {
  const { memoryBytes } = spec.resources;
  if (memoryBytes === undefined) return;
  const info: { MemTotal: number } = await api.quick("the engine's facts", (docker) =>
    docker.info(),
  );
  if (memoryBytes <= info.MemTotal) return;
  throw refused(
    `create ${spec.name}`,
    `a memory limit of ${memoryBytes} bytes, and the machine has ${info.MemTotal}`,
  );
}

/** The engine does not pull by itself when a container is created through its API. */
async function ensureImage(api: DockerApi, image: string): Promise<void> {
  const inspect = api.quick(`image ${image}`, (docker) => docker.getImage(image).inspect());
  if ((await orMissing(inspect)) !== undefined) return;
  const pull = async (docker: Docker) => {
    const progress = await docker.pull(withTag(image));
    const failure = await new Promise<Error | null>((resolve) => {
      docker.modem.followProgress(progress, resolve);
    });
    // Status 200 was sent before it failed; to the caller it is the engine's refusal all the same.
    if (failure !== null) throw Object.assign(failure, { statusCode: 500 });
  };
  await api.stream(`pull image ${image}`, pull, pullTimeoutMs);
}

/** Without a tag the engine would pull every one there is. */
function withTag(image: string): string {
  return /[:@]/.test(image.slice(image.lastIndexOf("/") + 1)) ? image : `${image}:latest`;
}

/** First ports of triples that no outer container has; others may have them all the same. */
async function freePorts(
  api: DockerApi,
  range: PortRange | undefined,
): Promise<(number | undefined)[]> {
  if (range === undefined) return [undefined];
  const containers = await api.quick("the list of containers", (docker) =>
    docker.listContainers({ all: true, filters: { label: [portsLabel] } }),
  );
  const taken = new Set(containers.map(({ Labels }) => Number(Labels[portsLabel])));
  const count = Math.floor((range.last - range.first + 1) / supervisorPortCount);
  return Array.from(
    { length: count },
    (_, index) => range.first + index * supervisorPortCount,
  ).filter((port) => !taken.has(port));
}

type Outcome = { id: string } | "lacks privileges" | "port taken";

/** When it fails, whatever was made goes again. */
async function startNew(
  api: DockerApi,
  order: CreateOrder,
  options: WriteOptions,
): Promise<Outcome> {
  const request = createRequest(order, options);
  let id: string | undefined;
  try {
    const create = (docker: Docker) => docker.createContainer(request);
    const { id: containerId } = await api.slow(`create ${order.spec.name}`, create);
    id = containerId;
    await api.slow(`start ${order.spec.name}`, (docker) =>
      docker.getContainer(containerId).start(),
    );
    return { id };
  } catch (error) {
    if (id !== undefined) {
      await removeMade(api, id, order.migrationId).catch(() => {
        // The first error tells more; the next creation for this migration removes the rest.
      });
    }
    if (lacksPrivilege(error)) return "lacks privileges";
    if (isPortTaken(error, options.firstPort)) return "port taken";
    throw error;
  }
}

/** One of the supervisor's; a service's own port is the order's fault. */
function isPortTaken(error: unknown, firstPort: number | undefined): boolean {
  if (firstPort === undefined || !(error instanceof UmsError)) return false;
  if (!/already (allocated|in use)/.test(error.message)) return false;
  const ports = [...error.message.matchAll(/:(\d+)\b/g)].map(([, port]) => Number(port));
  return ports.some((port) => port >= firstPort && port < firstPort + supervisorPortCount);
}

/** runc's words where the machine itself lacks a capability that `--privileged` would give. */
function lacksPrivilege(error: unknown): boolean {
  return (
    error instanceof UmsError && /unable to apply caps|privileged mode is /.test(error.message)
  );
}

/** The error, or undefined. */
async function settled(work: Promise<unknown>): Promise<unknown> {
  return await work.then(
    () => undefined,
    (error: unknown) => error,
  );
}

async function unlessStatus(error: unknown, status: number): Promise<void> {
  if (error !== undefined && statusOf(error) !== status) throw error;
}
