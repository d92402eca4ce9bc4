import type Docker from "dockerode";
import { UmsError } from "../../errors.js";
import type { Guard, Orchestrator, Workload } from "../contract.js";
import { migrationLabel, outerImageLabel } from "../platform.js";
import { refuseUntranslatable } from "../untranslatable.js";
import { type DockerApi, openApi, orMissing } from "./api.js";
import {
  type Created,
  createContainer,
  type PortRange,
  removeMade,
  removeVolumes,
} from "./create.js";
import { openGuard } from "./guard.js";
import { inexpressible } from "./inexpressible.js";
import { endpointOf, type ImageConfig, nameOf, readWorkload } from "./read.js";
import { untilContainerReady } from "./ready.js";
import { dockerUntranslatable } from "./untranslatable.js";
import type { OuterTls, Privileges } from "./write.js";

export interface DockerOptions {
  /** As in DOCKER_HOST: `unix:///var/run/docker.sock` or `tcp://host:port`. */
  address: string;
  /** Certificates of the outer containers that are made here, mounted at /etc/ums/tls. */
  outerTls?: OuterTls;
  /** Directories of the engine's machine that a service from elsewhere may have bound. Default: none. */
  allowedBinds?: readonly string[];
  /**
   * Where supervisors are reached from other machines: an address of the engine's machine, and
   * ports of it that new outer containers may take, three each. Default: the container's own
   * address, which only the engine's machine reaches.
   */
  published?: { host: string; ports: PortRange };
  /** How outer containers get their privileges. Default: privileged where the engine gives it. */
  privileges?: Privileges;
  /** Of each call that an engine answers at once. Default 30,000. */
  callTimeoutMs?: number;
}

const defaultCallTimeoutMs = 30_000;

/**
 * Opens the driver of a Docker Engine. Nothing is connected before the first call.
 * @throws ERR_CONFIG_INVALID when the address is none of a Docker engine
 */
export async function openDocker(options: DockerOptions): Promise<Orchestrator> {
  return new DockerOrchestrator(
    openApi(options.address, options.callTimeoutMs ?? defaultCallTimeoutMs),
    options,
  );
}

class DockerOrchestrator implements Orchestrator {
  readonly kind = "docker";
  private readonly allowedBinds: readonly string[];
  /** The way this engine gives privileges, once it is known. */
  private privileges: Privileges | undefined;
  /** Creations under way by migration: two at once for one migration are one. */
  private readonly creations = new Map<string, Promise<Created>>();
  private readonly guards = new Map<Guard, string>();
  /** Container id -> migration: its volumes are found even when somebody else removed it. */
  private readonly migrations = new Map<string, string>();

  constructor(
    private readonly api: DockerApi,
    private readonly options: DockerOptions,
  ) {
    this.allowedBinds = options.allowedBinds ?? [];
    this.privileges = options.privileges;
  }

  async describe() {
    const version = await this.api.quick("the engine's version", (docker) => docker.version());
    const info: { CgroupVersion?: string; Driver: string } = await this.api.quick(
      "the engine's facts",
      (docker) => docker.info(),
    );
    return {
      version: version.Version,
      features: [
        `API ${version.ApiVersion}`,
        `cgroup v${info.CgroupVersion ?? 1}`,
        info.Driver,
        `outer containers by ${this.privileges ?? "privileged or capabilities"}`,
      ],
    };
  }

  async list(): Promise<Workload[]> {
    const containers = await this.api.quick("the list of containers", (docker) =>
      docker.listContainers({ all: true, filters: { label: [outerImageLabel] } }),
    );
    const images = new Map<string, Promise<ImageConfig>>();
    const workloads = containers.map(async ({ Id }) => {
      const container = await this.api.inspect(Id);
      // Undefined: removed since it was listed.
      return container === undefined ? [] : [await this.workloadOf(container, images)];
    });
    return (await Promise.all(workloads)).flat();
  }

  async read(name: string): Promise<Workload> {
    return await this.workloadOf(await this.find(name));
  }

  untranslatable(spec: Workload["spec"]) {
    return dockerUntranslatable(spec, this.allowedBinds);
  }

  async create(order: Parameters<Orchestrator["create"]>[0]): Promise<Workload> {
    refuseUntranslatable(this.untranslatable(order.spec));
    const { migrationId } = order;
    let creation = this.creations.get(migrationId);
    if (creation === undefined) {
      creation = createContainer(this.api, order, {
        ...(this.options.outerTls === undefined ? {} : { outerTls: this.options.outerTls }),
        allowedBinds: this.allowedBinds,
        ports: this.options.published?.ports,
        privileges:
          this.privileges === undefined ? ["privileged", "capabilities"] : [this.privileges],
      }).finally(() => this.creations.delete(migrationId));
      this.creations.set(migrationId, creation);
    }
    const { id, privileges } = await creation;
    this.privileges ??= privileges;
    return await this.read(id);
  }

  async untilReady(
    id: string,
    options: { timeoutMs: number; signal?: AbortSignal },
  ): Promise<Workload> {
    const container = await this.find(id);
    await untilContainerReady(this.api, container.Id, {
      ...options,
      endpointOf: (current) => endpointOf(current, this.options.published?.host),
    });
    return await this.read(container.Id);
  }

  async remove(id: string): Promise<void> {
    const container = await this.api.inspect(id);
    const migrationId = container?.Config.Labels?.[migrationLabel] ?? this.migrations.get(id);
    if (container !== undefined) await removeMade(this.api, container.Id, migrationId);
    else if (migrationId !== undefined) await removeVolumes(this.api, migrationId);
    this.migrations.delete(id);
  }

  async guard(id: string, migrationId: string): Promise<Guard> {
    const { Id } = await this.find(id);
    const guard = await openGuard(this.api, Id);
    const registered: Guard = {
      mode: guard.mode,
      change: () => guard.change(),
      release: async () => {
        this.guards.delete(registered);
        await guard.release();
      },
    };
    this.guards.set(registered, migrationId);
    return registered;
  }

  /** Guards leave nothing in the engine: those of a Coordinator that has died are gone with it. */
  async releaseStale(activeMigrationIds: readonly string[]): Promise<void> {
    for (const [guard, migrationId] of this.guards) {
      if (!activeMigrationIds.includes(migrationId)) await guard.release();
    }
  }

  async close(): Promise<void> {
    await this.releaseStale([]);
  }

  /** @throws ERR_SERVICE_NOT_FOUND also for a container that is no outer one */
  private async find(name: string): Promise<Docker.ContainerInspectInfo> {
    const container = await this.api.inspect(name);
    const isOuter = container?.Config.Labels?.[outerImageLabel] !== undefined;
    // The engine also takes the first digits of an id, which a service's name may happen to be.
    const isMeant =
      container !== undefined && (nameOf(container) === name || container.Id === name);
    if (container !== undefined && isOuter && isMeant) return container;
    const reason = isMeant ? "is no outer container" : "is not here";
    throw new UmsError("ERR_SERVICE_NOT_FOUND", `${name} ${reason}`);
  }

  private async workloadOf(
    container: Docker.ContainerInspectInfo,
    images = new Map<string, Promise<ImageConfig>>(),
  ): Promise<Workload> {
    let image = images.get(container.Image);
    if (image === undefined) {
      image = this.imageConfig(container.Image);
      images.set(container.Image, image);
    }
    const found = inexpressible(container);
    const workload = readWorkload(container, await image, this.options.published?.host);
    const { id, migrationId } = workload;
    if (migrationId !== undefined) this.migrations.set(id, migrationId);
    return found.length === 0 ? workload : { ...workload, inexpressible: found };
  }

  /** Nothing when the image has been removed under its container: all then counts as the user's. */
  private async imageConfig(id: string): Promise<ImageConfig> {
    const inspect = this.api.quick(`image ${id}`, (docker) => docker.getImage(id).inspect());
    return ((await orMissing(inspect))?.Config ?? {}) as ImageConfig;
  }
}
