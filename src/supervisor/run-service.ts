import { randomUUID } from "node:crypto";
import { existsSync } from "node:fs";
import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Config } from "../config.js";
import type { Engine } from "../dockerd/engine.js";
import { UmsError } from "../errors.js";
import type { Logger } from "../lib/log.js";
import type { NestedService } from "../nested/service.js";
import type { ServiceSpec } from "../spec.js";
import { obtainImage } from "./image.js";
import type { MayRun } from "./ownership.js";
import { buildSpec, isSameSpec } from "./service-spec.js";
import type { SpecStore } from "./spec-store.js";
import type { Surroundings } from "./surroundings.js";
import { fillNewVolumes } from "./volume-content.js";

export interface RunServiceOptions {
  config: Config;
  args: readonly string[];
  surroundings: Surroundings;
  engine: Engine;
  service: NestedService;
  store: SpecStore;
  log: Logger;
  /** tmpfs: empty after a start of the outer container, kept over a crash of the supervisor. */
  runDir: string;
  /** What the journal allows. */
  mayRun: MayRun;
}

/** What came of it: the specification of the service, or standing by to receive one. */
export type RunOutcome = { kind: "running"; spec: ServiceSpec } | { kind: "standby" };

/**
 * Gets the service running, from whatever an earlier supervisor or an earlier start of the outer
 * container has left:
 *
 * 1. started in this life of the outer container: taken over as it is, also when it has ended in
 *    the meantime (its exit is then reported);
 * 2. left by an earlier life (`docker restart`) and meant to be the same: started again from its
 *    existing container, files kept, as the orchestrator's own container would be;
 * 3. otherwise: created anew from the surroundings.
 *
 * @throws ERR_IMAGE_NOT_FOUND, ERR_CONFIG_INVALID and the engine's errors
 */
export async function runService(options: RunServiceOptions): Promise<RunOutcome> {
  const { config, service, store, log, mayRun } = options;
  if (mayRun === "none") return { kind: "standby" };
  const stored = await store.read();
  if (mayRun === "adopt") {
    if ((await service.inspect())?.State.Running === true) await service.adopt();
    return { kind: "standby" };
  }
  if (stored !== undefined && (await isHere(options))) {
    log.info({ serviceId: stored.spec.serviceId }, "nested service adopted");
    await service.adopt();
    await markStarted(options.runDir);
    return { kind: "running", spec: stored.spec };
  }
  if (stored?.origin === "received") return await startAgain(options, stored.spec);
  if (config.UMS_START_MODE === "passive") return { kind: "standby" };
  const spec = await specFromSurroundings(options, stored?.spec.serviceId ?? randomUUID());
  if (stored !== undefined && isSameSpec(stored.spec, spec)) {
    return await startAgain(options, stored.spec);
  }
  const { engine } = options;
  await fillNewVolumes({ engine, imageId: spec.image.id, mounts: spec.mounts, log });
  return await createAndStart(options, spec);
}

/** One that runs was started in this life, also where a supervisor died before it could note that. */
async function isHere({ service, runDir }: RunServiceOptions): Promise<boolean> {
  const container = await service.inspect();
  return container !== undefined && (container.State.Running || isStarted(runDir));
}

/** Notes that the service runs in this life of the outer container. */
export async function markStarted(runDir: string): Promise<void> {
  await writeFile(join(runDir, startedMark), "");
}

/** True when the service was started in this life of the outer container, and has not left. */
export function isStarted(runDir: string): boolean {
  return existsSync(join(runDir, startedMark));
}

/** Notes that the service has left in this life of the outer container. */
export async function unmarkStarted(runDir: string): Promise<void> {
  await rm(join(runDir, startedMark), { force: true });
}

const startedMark = "service-started";

async function specFromSurroundings(
  options: RunServiceOptions,
  serviceId: string,
): Promise<ServiceSpec> {
  const { config, surroundings, args, engine, log } = options;
  const nested = await obtainImage(engine, config, log);
  if (nested === undefined) {
    throw new UmsError("ERR_CONFIG_INVALID", "there is no nested image: UMS_IMAGE is not set", {
      details: { variable: "UMS_IMAGE" },
      hint: "set UMS_IMAGE, use an image made by `ums build`, or set UMS_START_MODE=passive",
    });
  }
  return buildSpec({
    config,
    surroundings,
    args,
    serviceId,
    image: nested.image,
    imageReference: nested.reference,
    ownWorkingDir: nested.ownWorkingDir,
  });
}

async function startAgain(options: RunServiceOptions, spec: ServiceSpec): Promise<RunOutcome> {
  const { service, log, runDir } = options;
  const container = await service.inspect();
  const holderId = await service.prepare(spec);
  // A new holder means a new container: an engine resolves `container:NAME` once, at creation.
  if (container?.HostConfig.NetworkMode !== `container:${holderId}`) {
    return await createAndStart(options, spec);
  }
  log.info({ serviceId: spec.serviceId }, "nested service starts again from its container");
  await service.start();
  await markStarted(runDir);
  return { kind: "running", spec };
}

async function createAndStart(options: RunServiceOptions, spec: ServiceSpec): Promise<RunOutcome> {
  const { service, store, log, runDir } = options;
  const containerId = await service.create(spec);
  const stored = await store.read();
  await store.write({ spec, origin: stored?.origin ?? "local" });
  await service.start();
  await markStarted(runDir);
  log.info(
    { serviceId: spec.serviceId, containerId, image: spec.image.reference },
    "nested service started",
  );
  return { kind: "running", spec };
}
