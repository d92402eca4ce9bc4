/** A fake orchestrator: workloads are entries of a list, their outer containers are fakes as well. */
import { UmsError } from "../../src/errors.js";
import type {
  CreateOrder,
  Guard,
  Orchestrator,
  Untranslatable,
  Workload,
} from "../../src/orchestrators/contract.js";
import type { WorkloadSpec } from "../../src/orchestrators/workload.js";
import type { FakeOuter, FakeWorld } from "./fake-outer.js";

/** A plain service, as a user would write it. */
export function fakeWorkloadSpec(name: string): WorkloadSpec {
  return {
    name,
    image: "ums/outer:latest",
    env: [{ name: "UMS_IMAGE", value: "redis:7" }],
    ports: [{ port: 6379, protocol: "tcp", published: 6379 }],
    mounts: [],
    resources: {},
    labels: {},
    probes: {},
    restart: { policy: "unless-stopped" },
    isReadOnlyRoot: false,
    dns: { servers: [], searches: [], options: [] },
    extraHosts: {},
    ulimits: [],
    sysctls: {},
    isTty: false,
    hasStdin: false,
  };
}

export class FakeOrchestrator implements Orchestrator {
  readonly kind = "docker";
  readonly workloads = new Map<string, Workload & { outer: FakeOuter }>();
  /** Workload id -> migration that guards it. */
  readonly guards = new Map<string, string>();
  /** What was asked of it, in order. */
  readonly calls: string[] = [];
  /** Thrown by every call while it is set. */
  outage: UmsError | undefined;
  /** Called in the place of a step, by its name; may throw, or wait. */
  readonly script = new Map<string, () => unknown>();
  /** What a guard tells. */
  change: string | undefined;
  lost: Untranslatable[] = [];
  private count = 0;

  constructor(
    private readonly world: FakeWorld,
    private readonly system: string,
  ) {}

  async addService(name: string): Promise<FakeOuter> {
    const outer = await this.world.start({ name: `${this.system}/${name}`, hasService: true });
    this.add(fakeWorkloadSpec(name), outer, undefined);
    return outer;
  }

  async describe() {
    await this.step("describe");
    return { version: "1.0-fake", features: [] };
  }

  async list(): Promise<Workload[]> {
    await this.step("list");
    return [...this.workloads.values()];
  }

  async read(name: string): Promise<Workload> {
    await this.step("read");
    const found = [...this.workloads.values()].find(
      ({ id, spec }) => id === name || spec.name === name,
    );
    if (found !== undefined) return found;
    throw new UmsError("ERR_SERVICE_NOT_FOUND", `there is no service ${name}`);
  }

  untranslatable(): Untranslatable[] {
    return this.lost;
  }

  async create({ spec, migrationId }: CreateOrder): Promise<Workload> {
    await this.step("create");
    const refused = this.lost.filter(({ effect }) => effect === "refused");
    if (refused.length > 0) {
      const names = refused.map(({ setting }) => setting).join(", ");
      throw new UmsError("ERR_UNTRANSLATABLE", `cannot be expressed here: ${names}`);
    }
    const made = [...this.workloads.values()].find((one) => one.migrationId === migrationId);
    if (made !== undefined) return made;
    const name = `${this.system}/${spec.name}`;
    const outer = await this.world.start({ name, hasService: false });
    return this.add(spec, outer, migrationId);
  }

  async untilReady(id: string, { signal }: { signal?: AbortSignal }): Promise<Workload> {
    await this.step("untilReady");
    signal?.throwIfAborted();
    return this.read(id);
  }

  async remove(id: string): Promise<void> {
    await this.step("remove");
    const workload = this.workloads.get(id);
    this.workloads.delete(id);
    await workload?.outer.close();
    if (workload !== undefined) this.world.outers.delete(workload.outer.address);
  }

  async guard(id: string, migrationId: string): Promise<Guard> {
    await this.step("guard");
    this.guards.set(id, migrationId);
    return {
      mode: "blocked",
      change: async () => this.change,
      release: async () => {
        await this.step("release");
        if (this.guards.get(id) === migrationId) this.guards.delete(id);
      },
    };
  }

  async releaseStale(active: readonly string[]): Promise<void> {
    await this.step("releaseStale");
    for (const [id, migrationId] of this.guards) {
      if (!active.includes(migrationId)) this.guards.delete(id);
    }
  }

  async close(): Promise<void> {}

  /** The only workload that a migration made here. */
  arrival(): (Workload & { outer: FakeOuter }) | undefined {
    return [...this.workloads.values()].find(({ migrationId }) => migrationId !== undefined);
  }

  private add(spec: WorkloadSpec, outer: FakeOuter, migrationId: string | undefined) {
    this.count += 1;
    const id = `${this.system}-${this.count}`;
    const endpoint = { host: "127.0.0.1", peerPort: outer.port, httpPort: 9751 };
    const workload = {
      id,
      spec,
      state: "running" as const,
      endpoint,
      outer,
      ...(migrationId === undefined ? {} : { migrationId }),
    };
    this.workloads.set(id, workload);
    return workload;
  }

  private async step(name: string): Promise<void> {
    this.calls.push(name);
    if (this.outage !== undefined) throw this.outage;
    await this.script.get(name)?.();
  }
}
