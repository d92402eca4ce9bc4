import { existsSync } from "node:fs";
import type { Config } from "../config.js";
import { type Daemon, openDaemon } from "../dockerd/daemon.js";
import { type Engine, openEngine } from "../dockerd/engine.js";
import { UmsError } from "../errors.js";
import type { Logger } from "../lib/log.js";
import { createNestedService, type NestedService } from "../nested/service.js";
import { createBoot } from "./boot.js";
import { describeExit, failureExitCode, recordExit } from "./exit.js";
import { type Check, openHttpServer } from "./http.js";
import { createPublisher, type Publisher } from "./publish-ports.js";
import { type RunOutcome, runService } from "./run-service.js";
import { listenToSignals } from "./signals.js";
import { openSpecStore } from "./spec-store.js";
import { openStdio } from "./stdio.js";
import { readSurroundings, type Surroundings } from "./surroundings.js";

const runDir = "/run/ums";
const dataRoot = "/var/lib/docker";
const socketPath = "/run/docker.sock";
const hookPath = "/usr/local/lib/ums/entrypoint/ums-runc";

const readSurroundingsMs = 5_000;
const openDaemonMs = 30_000;
const daemonReadyMs = 120_000;
const openStdioMs = 5_000;
const openHttpMs = 5_000;
/** Includes the pull of a large image. */
const runServiceMs = 1_800_000;
const publishMs = 30_000;
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
    const exitCode = failureExitCode(error);
    log.fatal(
      { err: error, code: error.code, hint: error.hint, exitCode },
      "supervisor cannot go on",
    );
    await recordExit(
      exitCode,
      `${error.message}${error.hint === undefined ? "" : ` (${error.hint})`}`,
    );
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
  const stop = listenForStop(options.isStopPending);
  const surroundings = await boot.step("read surroundings", readSurroundingsMs, () =>
    readSurroundings({
      environ: `${runDir}/environ`,
      workingDir: `${runDir}/cwd`,
      own: [config.UMS_TLS_DIR, config.UMS_STATE_DIR],
    }),
  );

  const engine = openEngine(`unix://${socketPath}`);
  const daemon = await boot.step("start dockerd", openDaemonMs, () =>
    openDaemon(daemonOptions(config, engine, surroundings, log)),
  );
  boot.onClose("dockerd", () => daemon.close("stop"));

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

  const isStandby = () => config.UMS_START_MODE === "passive" && service.state() === "absent";
  const http = await boot.step("open HTTP server", openHttpMs, () =>
    openHttpServer({
      port: config.UMS_HTTP_PORT,
      readiness: async () => [daemonCheck(daemon), serviceCheck(service, isStandby())],
      health: () => healthChecks(service, isStandby()),
      daemonRestarts: () => daemon.restarts(),
    }),
  );
  boot.onClose("HTTP server", () => http.close());

  await boot.step("dockerd ready", daemonReadyMs, () => daemon.whenReady(daemonReadyMs));
  const store = openSpecStore(config.UMS_STATE_DIR);
  const outcome = await boot.step("run service", runServiceMs, () =>
    runService({ config, args, surroundings, engine, service, store, log, runDir }),
  );
  const publisher = createPublisher(config);
  boot.onClose("port publishing", () => publisher.close());
  await boot.step("publish ports", publishMs, () => publishFor(publisher, outcome, engine));

  return await untilEnd(options, service, stop.requested, outcome);
}

/** The service's end, or the orchestrator's wish to end, whichever comes first. */
async function untilEnd(
  options: SupervisorOptions,
  service: NestedService,
  stopRequested: Promise<void>,
  outcome: RunOutcome,
): Promise<{ exitCode: number; reason: string }> {
  const { config, log } = options;
  if (outcome.kind === "standby") log.info("standing by to receive a service");
  const exit = service.waitExit();
  const isStop = await Promise.race([exit.then(() => false), stopRequested.then(() => true)]);
  if (isStop && service.state() !== "running") {
    return { exitCode: terminatedExitCode, reason: "ended by SIGTERM without a running service" };
  }
  if (isStop) await service.stop(config.UMS_STOP_TIMEOUT * 1000);
  const end = await exit;
  return { exitCode: end.exitCode, reason: describeExit(end) };
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

async function publishFor(
  publisher: Publisher,
  outcome: RunOutcome,
  engine: Engine,
): Promise<void> {
  if (outcome.kind === "standby") return;
  const image = await engine.inspectImage(outcome.spec.image.id);
  await publisher.publish(outcome.spec.network, image?.config.exposedPorts ?? []);
}

function daemonCheck(daemon: Daemon): Check {
  return { name: "dockerd", isGood: daemon.state() === "ready", detail: daemon.state() };
}

function serviceCheck(service: NestedService, isStandby: boolean): Check {
  const isGood = isStandby || service.state() === "running";
  return { name: "service", isGood, detail: isStandby ? "standing by" : service.state() };
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
