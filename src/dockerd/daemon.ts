import { closeSync, existsSync, openSync } from "node:fs";
import { mkdir, readFile, rename, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { UmsError } from "../errors.js";
import { backoffMs } from "../lib/backoff.js";
import { poll, sleep } from "../lib/deadline.js";
import { start, toolEnvironment } from "../lib/exec.js";
import { isNotFound, writeFileDurably } from "../lib/files.js";
import type { Logger } from "../lib/log.js";
import { daemonConfig, probeStorageDriver } from "./daemon-config.js";
import type { Engine } from "./engine.js";

export interface DaemonOptions {
  engine: Engine;
  log: Logger;
  socketPath: string;
  dataRoot: string;
  /** Where the generated daemon.json goes. */
  configPath: string;
  /** dockerd's own output. */
  logPath: string;
  pidPath: string;
  hookPath: string;
  registryMirror?: string | undefined;
  /** HTTP_PROXY and its relatives, `NAME=value`: pulls go through them. */
  proxyEnv: readonly string[];
}

export type DaemonState = "starting" | "ready" | "down";

export interface Daemon {
  state(): DaemonState;
  /** How often a dead daemon was started again. */
  restarts(): number;
  /** Resolves when the engine answers. @throws ERR_DOCKERD_NOT_READY after `timeoutMs` */
  whenReady(timeoutMs: number): Promise<void>;
  /**
   * `leave` only ends the watch: dockerd and every container go on, for the next supervisor.
   * `stop` ends dockerd too; with live-restore the containers still go on.
   */
  close(mode: "leave" | "stop"): Promise<void>;
}

const watchIntervalMs = 250;
const startTimeoutMs = 60_000;
const stopTimeoutMs = 5_000;
const restartBackoff = { initialMs: 200, maxMs: 5_000 };
/** dockerd's log is set aside beyond this; two files at most. */
const ownLogBytes = 8 * 1024 * 1024;

/**
 * Runs the inner dockerd and keeps it running: adopts one that already answers (this supervisor
 * may be a restarted one), starts one otherwise, and starts it again when it dies.
 *
 * dockerd is started in a session of its own, so that no signal to the supervisor's process
 * group and no death of the supervisor reaches it. Its end is found by looking at its pid, in
 * the same way for an adopted daemon and for a child.
 */
export async function openDaemon(options: DaemonOptions): Promise<Daemon> {
  const closing = new AbortController();
  let state: DaemonState = "starting";
  let restarts = 0;
  let pid = await adoptDaemon(options);
  if (pid === undefined) pid = await startDaemon(options);
  else options.log.info({ pid }, "inner dockerd adopted");
  const watching = watch();

  async function watch(): Promise<void> {
    for (let attempt = 0; !closing.signal.aborted; ) {
      try {
        if (pid === undefined) {
          await sleep(backoffMs(attempt, restartBackoff), closing.signal);
          attempt += 1;
          restarts += 1;
          pid = await startDaemon(options);
        }
        await untilAnswers(options.engine, pid, closing.signal);
        state = "ready";
        attempt = 0;
        await untilGone(pid, closing.signal);
      } catch (error) {
        if (closing.signal.aborted) return;
        options.log.warn({ err: error, dockerdLog: options.logPath }, "inner dockerd not usable");
        if (pid !== undefined && isAlive(pid)) continue;
      }
      options.log.warn({ pid }, "inner dockerd ended");
      state = "down";
      pid = undefined;
    }
  }

  return {
    state: () => state,
    restarts: () => restarts,
    whenReady: (timeoutMs) => whenReady(() => state, options, timeoutMs),
    async close(mode) {
      closing.abort();
      await watching;
      if (mode === "stop" && pid !== undefined) await stopDaemon(pid);
    },
  };
}

async function whenReady(
  state: () => DaemonState,
  options: DaemonOptions,
  timeoutMs: number,
): Promise<void> {
  try {
    await poll("inner dockerd ready", () => state() === "ready", { timeoutMs, intervalMs: 20 });
  } catch (error) {
    throw new UmsError("ERR_DOCKERD_NOT_READY", `inner dockerd not ready in ${timeoutMs} ms`, {
      details: { logTail: await logTail(options.logPath) },
      hint: `read ${options.logPath}; the outer container needs the documented privileges`,
      cause: error,
    });
  }
}

/** The pid of a daemon that answers on our socket, else undefined. */
async function adoptDaemon(options: DaemonOptions): Promise<number | undefined> {
  const pid = await readPid(options.pidPath);
  if (pid === undefined || !isAlive(pid) || !existsSync(options.socketPath)) return undefined;
  return (await isDockerd(pid)) ? pid : undefined;
}

async function startDaemon(options: DaemonOptions): Promise<number> {
  const config = daemonConfig({
    storageDriver: await probeStorageDriver(options.dataRoot),
    dataRoot: options.dataRoot,
    socketPath: options.socketPath,
    hookPath: existsSync(options.hookPath) ? options.hookPath : undefined,
    registryMirror: options.registryMirror,
  });
  await writeFileDurably(options.configPath, `${JSON.stringify(config, null, 2)}\n`);
  await setAsideLog(options.logPath);
  const output = openSync(options.logPath, "a", 0o600);
  try {
    const argv = ["dockerd", "--config-file", options.configPath, "--pidfile", options.pidPath];
    const child = start(argv, {
      detached: true,
      stdio: ["ignore", output, output],
      env: { ...toolEnvironment, ...Object.fromEntries(options.proxyEnv.map(splitVariable)) },
    });
    child.unref();
    child.on("error", (error) => options.log.error({ err: error }, "dockerd cannot be started"));
    if (child.pid === undefined) {
      throw new UmsError("ERR_DOCKERD_NOT_READY", "dockerd cannot be started: is it installed?");
    }
    options.log.info(
      { pid: child.pid, storageDriver: config["storage-driver"] },
      "dockerd started",
    );
    return child.pid;
  } finally {
    closeSync(output);
  }
}

async function untilAnswers(engine: Engine, pid: number, signal: AbortSignal): Promise<void> {
  await poll(
    "inner dockerd answers",
    async () => {
      if (!isAlive(pid)) throw new UmsError("ERR_DOCKERD_NOT_READY", "inner dockerd ended early");
      return await engine.ping().then(
        () => true,
        () => false,
      );
    },
    { timeoutMs: startTimeoutMs, signal },
  );
}

async function untilGone(pid: number, signal: AbortSignal): Promise<void> {
  while (isAlive(pid)) await sleep(watchIntervalMs, signal);
}

/** SIGTERM, then SIGKILL: a dockerd that hangs must not keep the outer container alive. */
async function stopDaemon(pid: number): Promise<void> {
  if (!isAlive(pid)) return;
  process.kill(pid, "SIGTERM");
  try {
    await poll("dockerd ended", () => !isAlive(pid), { timeoutMs: stopTimeoutMs, intervalMs: 20 });
  } catch {
    // The deadline has passed; the outer container ends in any case.
    if (isAlive(pid)) process.kill(pid, "SIGKILL");
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    // ESRCH: gone. We are root, so EPERM cannot be the reason.
    return false;
  }
}

/** A pid file may outlive its process and the number belong to another. */
async function isDockerd(pid: number): Promise<boolean> {
  const name = await readFile(`/proc/${pid}/comm`, "utf8").catch(() => "");
  return name.trim() === "dockerd";
}

async function readPid(path: string): Promise<number | undefined> {
  const text = await readFile(path, "utf8").catch((error: unknown) => {
    if (isNotFound(error)) return "";
    throw error;
  });
  const pid = Number(text.trim());
  return Number.isInteger(pid) && pid > 0 ? pid : undefined;
}

async function setAsideLog(path: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  const size = await stat(path).then(
    (stats) => stats.size,
    () => 0,
  );
  if (size > ownLogBytes) await rename(path, `${path}.1`);
}

async function logTail(path: string): Promise<string> {
  const text = await readFile(path, "utf8").catch(() => "");
  return text.slice(-2_000);
}

function splitVariable(variable: string): [string, string] {
  const index = variable.indexOf("=");
  return [variable.slice(0, index), variable.slice(index + 1)];
}
