/**
 * A fake orchestrator whose outer containers are real ones of a lab: what the Coordinator asks of
 * them is answered by supervisors, what it asks of the orchestrator by a list.
 */
import { UmsError } from "../../src/errors.js";
import type {
  CreateOrder,
  Guard,
  Orchestrator,
  Workload,
} from "../../src/orchestrators/contract.js";
import type { WorkloadSpec } from "../../src/orchestrators/workload.js";
import type { OuterContainer, OuterLab } from "./outer.js";

export interface LabOrchestratorOptions {
  lab: OuterLab;
  /** Begins the names of what it makes. */
  system: string;
  /** Certificates of the outer containers it makes. */
  tlsDirectory: string;
}

export class LabOrchestrator implements Orchestrator {
  readonly kind = "docker";
  readonly outers = new Map<string, OuterContainer>();
  private readonly workloads = new Map<string, Workload>();

  constructor(private readonly options: LabOrchestratorOptions) {}

  add(outer: OuterContainer, spec: WorkloadSpec, migrationId?: string): Workload {
    const workload: Workload = {
      id: outer.name,
      spec,
      state: "running",
      endpoint: { host: outer.ip, peerPort: 9750, httpPort: 9751 },
      ...(migrationId === undefined ? {} : { migrationId }),
    };
    this.workloads.set(outer.name, workload);
    this.outers.set(outer.name, outer);
    return workload;
  }

  async describe() {
    return { version: "lab", features: [] };
  }

  async list() {
    return [...this.workloads.values()];
  }

  async read(name: string): Promise<Workload> {
    const found = [...this.workloads.values()].find(({ id, spec }) =>
      [id, spec.name].includes(name),
    );
    if (found !== undefined) return found;
    throw new UmsError("ERR_SERVICE_NOT_FOUND", `there is no service ${name}`);
  }

  untranslatable() {
    return [];
  }

  async create({ spec, migrationId }: CreateOrder): Promise<Workload> {
    const made = [...this.workloads.values()].find((one) => one.migrationId === migrationId);
    if (made !== undefined) return made;
    const { lab, system, tlsDirectory } = this.options;
    const env = Object.fromEntries(spec.env.map(({ name, value }) => [name, value]));
    const outer = await lab.start(`${system}-${spec.name}`, { env, tlsDirectory });
    return this.add(outer, spec, migrationId);
  }

  untilReady(id: string): Promise<Workload> {
    return this.read(id);
  }

  async remove(id: string): Promise<void> {
    await this.outers.get(id)?.remove();
    this.outers.delete(id);
    this.workloads.delete(id);
  }

  async guard(): Promise<Guard> {
    return { mode: "detected", change: async () => undefined, release: async () => {} };
  }

  async releaseStale(): Promise<void> {}

  async close(): Promise<void> {}
}
