import { existsSync } from "node:fs";
import { join } from "node:path";
import type { Config } from "../config.js";
import { type Daemon, openDaemon } from "../dockerd/daemon.js";
import { type Engine, openEngine } from "../dockerd/engine.js";
import { UmsError } from "../errors.js";
import { createPlaceBoard } from "../frontman/place.js";
import { createBoot } from "../lib/boot.js";
import { openFaults } from "../lib/faults.js";
import type { Logger } from "../lib/log.js";
import { openJournal } from "../migration/journal.js";
import { createNestedService, type NestedService } from "../nested/service.js";
import { createAnnouncer } from "./announce.js";
import { announceMetrics } from "./announce-metrics.js";
import { announceTargets } from "./announce-targets.js";
import { createDataPlane } from "./data-plane.js";
import { endFrozen } from "./end-frozen.js";
import { evacuate } from "./evacuate.js";
import { describeExit, failureExitCode, isExitRecorded, recordExit } from "./exit.js";
import { checkFrontConfig, openFront } from "./front.js";
import { registerFrontMetrics } from "./front-metrics.js";
import { addDoubtMetrics, type Check, openHttpServer } from "./http.js";
import { type Migration, openMigration } from "./migration.js";
import { readOwnership } from "./ownership.js";
import { createPublisher, outerAddress } from "./publish-ports.js";
import { prepareResolver } from "./resolver.js";
import { isStarted, markStarted, runService, unmarkStarted } from "./run-service.js";
import { networkOf } from "./service-spec.js";
import { listenToSignals } from "./signals.js";
import { openSpecStore } from "./spec-store.js";
import { doubtSeconds } from "./status.js";
import { openStdio } from "./stdio.js";
import { readSurroundings, type Surroundings } from "./surroundings.js";
import { registerTrafficMetrics } from "./traffic-metrics.js";

const runDir = "/run/ums";
const dataRoot = "/var/lib/docker";
const socketPath = "/run/docker.sock";
const hookPath = "/usr/local/lib/ums/entrypoint/ums-runc";

const readSurroundingsMs = 5_000;
const prepareResolverMs = 5_000;
const openDaemonMs = 30_000;
const daemonReadyMs = 120_000;
const openStdioMs = 5_000;
const openHttpMs = 5_000;
/** Includes the pull of a large image. */
const runServiceMs = 1_800_000;
const openJournalMs = 10_000;
const warmUpMs = 60_000;
const openMigrationMs = 60_000;
const openFrontMs = 5_000;
/** What a program ended by SIGTERM reports: 128 + 15. */
const terminatedExitCode = 143;

export interface SupervisorOptions {
  config: Config;
  /** Arguments of the outer container: the service's own. */
  args: readonly string[];
  log: Logger;
  /** SIGTERM came while no supervisor was there to take it. */
  isStopPending: boolean;
}

/**
 * Runs the nested service for as long as it lives, or stands by for one.
 * @returns the exit code of the outer container, already recorded for the entrypoint
 */
export async function runSupervisor(options: SupervisorOptions): Promise<number> {
  const { log } = options;
  const boot = createBoot(log);
  try {
    const exit = await superviseService(options, boot);
    await recordExit(exit.exitCode, exit.reason);
    log.info({ exitCode: exit.exitCode }, exit.reason);
    return exit.exitCode;
  } catch (thrown) {
    const error = UmsError.from(thrown);
    const fields = { err: error, code: error.code, hint: error.hint };
    if (isStarted(runDir)) {
      // Ending the outer container would end the service too. The entrypoint takes an end
      // without a recorded exit code for a crash, and the next supervisor takes the service over.
      log.fatal(fields, "supervisor failed; the service goes on");
      throw error;
    }
    const exitCode = failureExitCode(error);
    log.fatal({ ...fields, exitCode }, "supervisor cannot go on");
    await recordExit(exitCode, [error.message, error.hint ?? ""].join(" ").trim());
    return exitCode;
  } finally {
    await boot.close();
  }
}

/** Boot order, top to bottom; everything opened is closed in reverse. */
async function superviseService(
  options: SupervisorOptions,
  boot: ReturnType<typeof createBoot>,
): Promise<{ exitCode: number; reason: string }> {
  const { config, args, log } = options;
  const faultDir = config.UMS_TEST_FAULTS;
  if (faultDir !== undefined) log.warn({ faultDir }, "fault points are armed: for tests alone");
  checkFrontConfig(config);
  const stop = listenForStop(options.isStopPending);
  const surroundings = await boot.step("read surroundings", readSurroundingsMs, () =>
    readSurroundings({
      environ: `${runDir}/environ`,
      workingDir: `${runDir}/cwd`,
      own: [config.UMS_TLS_DIR, config.UMS_STATE_DIR, ...keyFiles(config)],
    }),
  );

  await boot.step("prepare resolver", prepareResolverMs, prepareResolver);
  const engine = openEngine(`unix://${socketPath}`);
  const targets = announceTargets(config, {
    ownAddress: outerAddress,
    ports: async ({ image }) => (await engine.inspectImage(image.id))?.config.exposedPorts ?? [],
  });
  const daemon = await boot.step("start dockerd", openDaemonMs, () =>
    openDaemon(daemonOptions(config, engine, surroundings, log)),
  );
  boot.onClose("dockerd", () => daemon.close(isExitRecorded() ? "stop" : "leave"));

  const stdio = await boot.step("open standard streams", openStdioMs, () =>
    openStdio(surroundings),
  );
  const service = createNestedService({
    engine,
    daemon,
    log,
    stdio,
    runDir,
    hasHookRuntime: existsSync(hookPath),
    maxOpenFiles: surroundings.openFiles?.hard ?? Number.MAX_SAFE_INTEGER,
  });
  boot.onClose("service", () => service.close());
  const signals = listenToSignals(
    {
      onStop: stop.request,
      onSignal: (signal) => passSignal(service, signal, stop.request),
    },
    log,
  );
  boot.onClose("signals", () => signals.close());

  const journal = await boot.step("open journal", openJournalMs, () =>
    openJournal(join(config.UMS_STATE_DIR, "journal")),
  );
  const ownership = readOwnership(journal, config.UMS_START_MODE === "passive");
  const isStandby = () =>
    service.state() === "departed" ||
    (service.state() === "absent" && ownership.mayRun !== "start");
  const board = createPlaceBoard({ state: "elsewhere" });
  const opened: { migration?: Migration } = {};
  const http = await boot.step("open HTTP server", openHttpMs, () =>
    openHttpServer({
      port: config.UMS_HTTP_PORT,
      readiness: async () => [
        daemonCheck(daemon),
        serviceCheck(service, isStandby()),
        moveCheck(opened.migration),
      ],
      health: () => healthChecks(service, isStandby()),
      daemonRestarts: () => daemon.restarts(),
      whereabouts: {
        where: board,
        name: () => opened.migration?.serviceName() ?? "",
        isKnown: () => opened.migration !== undefined,
      },
    }),
  );
  boot.onClose("HTTP server", () => http.close());

  await boot.step("dockerd ready", daemonReadyMs, () => daemon.whenReady(daemonReadyMs));
  const store = openSpecStore(config.UMS_STATE_DIR);
  await boot.step("run service", runServiceMs, () =>
    runService({
      config,
      args,
      surroundings,
      engine,
      service,
      store,
      log,
      runDir,
      mayRun: ownership.mayRun,
    }),
  );
  if (ownership.mayRun === "none" && (await store.read()) === undefined) {
    await boot.step("warm up", warmUpMs, () => service.warmUp(networkOf(config.UMS_SUBNET)));
  }
  const publisher = createPublisher(config);
  const plane = createDataPlane({ service, engine, publisher });
  boot.onClose("data plane", () => plane.close());
  const announcer = createAnnouncer({ targets, stateDir: config.UMS_STATE_DIR, log });
  boot.onClose("announcements", () => announcer.close());
  announceMetrics(http.registry, announcer);
  // Before any migration can begin.
  const front = await boot.step("open Frontman", openFrontMs, () =>
    openFront({ config, where: board, rules: () => publisher.rules(), log }),
  );
  boot.onClose("Frontman", () => front.close());
  registerFrontMetrics(http.registry, () => front.stats());
  const migration = await boot.step("open the Migration Interface", openMigrationMs, () =>
    openMigration({
      config,
      log,
      journal,
      ownership,
      service,
      engine,
      plane,
      store,
      runDir,
      faults: openFaults(faultDir),
      board,
      whyFronting: () => front.disposal()?.reason,
      ownMounts: surroundings.mounts,
      announcer,
      onArrived: () => markStarted(runDir),
      onDeparted: () => unmarkStarted(runDir),
    }),
  );
  boot.onClose("Migration Interface", () => migration.close());
  opened.migration = migration;
  registerTrafficMetrics(http.registry, () => migration.traffic());
  addDoubtMetrics(
    http.registry,
    () => doubtSeconds(migration.status(), Date.now()),
    () => migration.status().inDoubt,
  );

  const evacuateService = async () => {
    const serviceId = (await store.read())?.spec.serviceId;
    return evacuate({ config, serviceId, log });
  };
  const ends = { stop: stop.requested, disposed: front.disposed };
  const end = await untilEnd(options, service, ends, migration, evacuateService);
  await endFrozen(service, log);
  return end;
}

/** The service's end, or the orchestrator's wish to end, whichever comes first. */
async function untilEnd(
  { config, log }: SupervisorOptions,
  service: NestedService,
  ends: { stop: Promise<void>; disposed: Promise<string> },
  migration: Migration,
  evacuateService: () => Promise<boolean>,
): Promise<{ exitCode: number; reason: string }> {
  if (service.state() === "absent") log.info("standing by to receive a service");
  const exit = service.waitExit();
  const stopReason = await Promise.race([
    exit.then(() => undefined),
    ends.stop.then(() => "asked to stop"),
    ends.disposed,
  ]);
  if (stopReason !== undefined) {
    if (service.state() === "running") {
      const ended = await Promise.race([exit, evacuateService().then(() => undefined)]);
      if (ended !== undefined) return { exitCode: ended.exitCode, reason: describeExit(ended) };
    }
    const stopTimeoutMs = config.UMS_STOP_TIMEOUT * 1000;
    await migration.prepareStop(stopTimeoutMs);
    if (migration.hasLeft()) {
      return { exitCode: 0, reason: `the service has left; ${stopReason}` };
    }
    if (service.state() !== "running") {
      return { exitCode: terminatedExitCode, reason: "ended by SIGTERM without a running service" };
    }
    await service.stop(stopTimeoutMs);
  }
  const end = await exit;
  return { exitCode: end.exitCode, reason: describeExit(end) };
}

/** Secrets of ours, in case each is a mount of its own: the service does not get them. */
function keyFiles({ UMS_DNS_TSIG_FILE, UMS_WEBHOOK_SECRET_FILE }: Config): string[] {
  return [UMS_DNS_TSIG_FILE, UMS_WEBHOOK_SECRET_FILE].filter((path) => path !== undefined);
}

function listenForStop(isPending: boolean): { requested: Promise<void>; request(): void } {
  let request = () => {};
  const requested = new Promise<void>((resolve) => {
    request = resolve;
  });
  if (isPending) request();
  return { requested, request };
}

/** A signal that is the service's own stop signal asks for its end, with the time limit of one. */
async function passSignal(
  service: NestedService,
  signal: NodeJS.Signals,
  requestStop: () => void,
): Promise<void> {
  const container = service.state() === "running" ? await service.inspect() : undefined;
  const isEnding = signal === "SIGINT" || signal === "SIGQUIT";
  if (container === undefined) {
    if (isEnding) requestStop();
    return;
  }
  // The terminal tells the service its size by itself.
  if (signal === "SIGWINCH" && container.Config.Tty) return;
  if ((container.Config as { StopSignal?: string }).StopSignal === signal) requestStop();
  else await service.kill(signal);
}

function daemonCheck(daemon: Daemon): Check {
  return { name: "dockerd", isGood: daemon.state() === "ready", detail: daemon.state() };
}

function serviceCheck(service: NestedService, isStandby: boolean): Check {
  const isGood = isStandby || service.state() === "running";
  return { name: "service", isGood, detail: isStandby ? "standing by" : service.state() };
}

/** A frozen service answers nobody: no traffic for it, and no restart either (see /livez). */
function moveCheck(migration: Migration | undefined): Check {
  const reason = migration?.frozenReason();
  return { name: "migration", isGood: reason === undefined, detail: reason ?? "not frozen" };
}

/** The nested image's own HEALTHCHECK, which the inner engine runs; without one, running is enough. */
async function healthChecks(service: NestedService, isStandby: boolean): Promise<Check[]> {
  const running = serviceCheck(service, isStandby);
  if (!running.isGood || isStandby) return [running];
  const status = (await service.inspect())?.State.Health?.Status ?? "none";
  return [
    running,
    { name: "healthcheck", isGood: ["healthy", "none"].includes(status), detail: status },
  ];
}

function daemonOptions(
  config: Config,
  engine: Engine,
  surroundings: Surroundings,
  log: Logger,
): Parameters<typeof openDaemon>[0] {
  return {
    engine,
    log,
    socketPath,
    dataRoot,
    configPath: `${runDir}/daemon.json`,
    logPath: "/var/log/dockerd.log",
    pidPath: "/run/docker.pid",
    hookPath,
    registryMirror: config.UMS_REGISTRY_MIRROR,
    proxyEnv: surroundings.environment.filter((variable) =>
      /^(https?|no|all)_proxy=/i.test(variable),
    ),
  };
}
