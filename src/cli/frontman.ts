/** `ums frontman`: stands in for a service from outside its outer container. */
import type { Command } from "commander";
import { UmsError } from "../errors.js";
import { watchDisposal } from "../frontman/disposal.js";
import { createFrontman, defaultLimits, type Frontman } from "../frontman/frontman.js";
import { parseListen } from "../frontman/modes.js";
import type { ProxyVersion } from "../frontman/proxy-protocol.js";
import { type SupervisorWatch, watchSupervisor } from "../frontman/supervisor.js";
import { createLogger, type Logger } from "../lib/log.js";

interface Flags {
  supervisor: string;
  listen: string[];
  host: string;
  proxyProtocol?: string;
  livenessPath: string[];
  readinessPath: string[];
  holdTimeout: number;
  retryAfter: number;
  maxHeld: number;
  dnsName?: string;
  idle?: number;
  deadline?: number;
  logLevel: string;
}

export function registerFrontman(program: Command): void {
  program
    .command("frontman")
    .description("stand in for a service: pass clients on to where its supervisor says it is")
    .requiredOption("--supervisor <url>", "HTTP interface of its supervisor, http://HOST:9751")
    .requiredOption(
      "--listen <[LISTEN:]PORT=MODE>",
      "port of the service and hold, forward, retry or redirect; repeatable",
      append,
      [],
    )
    .option("--host <address>", "address to listen on", "0.0.0.0")
    .option("--proxy-protocol <version>", "tell the service who the client is: v1 or v2")
    .option("--liveness-path <path>", "answered 200 while the service moves", append, [])
    .option("--readiness-path <path>", "answered 503 while the service moves", append, [])
    .option("--hold-timeout <seconds>", "how long a client waits at most", seconds, 60)
    .option("--retry-after <seconds>", "when HTTP clients shall come again", seconds, 1)
    .option("--max-held <number>", "clients that wait at a time", seconds, defaultLimits.maxHeld)
    .option("--dns-name <name>", "end when this name shows the new endpoint, and its TTL is over")
    .option(
      "--idle <seconds>",
      "end when the service has gone and nobody came for so long",
      seconds,
    )
    .option("--deadline <seconds>", "end so long after the service has gone", seconds)
    .option("--log-level <level>", "least severe line of the log", "info")
    .action(frontman);
}

async function frontman(flags: Flags): Promise<void> {
  const log = createLogger(flags.logLevel);
  const listens = flags.listen.map(parseListen);
  const proxyProtocol = proxyVersion(flags.proxyProtocol);
  const where = watchSupervisor({ url: flags.supervisor, log });
  const frontmen: Frontman[] = [];
  try {
    for (const { listenPort, port, mode } of listens) {
      frontmen.push(
        await createFrontman({
          listen: { host: flags.host, port: listenPort },
          servicePort: port,
          mode,
          where,
          probes: { liveness: flags.livenessPath, readiness: flags.readinessPath },
          proxyProtocol,
          limits: {
            holdTimeoutMs: flags.holdTimeout * 1000,
            retryAfterSeconds: Math.max(1, Math.round(flags.retryAfter)),
            maxHeld: flags.maxHeld,
          },
          log,
        }),
      );
      log.info({ listenPort, port, mode }, "Frontman listens");
    }
    log.info({ reason: await untilEnd(flags, where, frontmen, log) }, "Frontman ends");
  } finally {
    where.close();
    await Promise.all(frontmen.map((one) => one.close()));
  }
}

/** Asked to stop, or no longer needed. */
async function untilEnd(
  flags: Flags,
  where: SupervisorWatch,
  frontmen: readonly Frontman[],
  log: Logger,
): Promise<string> {
  const stop = new Promise<string>((resolve) => {
    for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, resolve);
  });
  return Promise.race([stop, disposed(flags, where, frontmen, log)]);
}

/** Begins anew with every change of place: a service that came home needs its Frontman again. */
function disposed(
  flags: Flags,
  where: SupervisorWatch,
  frontmen: readonly Frontman[],
  log: Logger,
): Promise<string> {
  const ms = (value: number | undefined) => (value === undefined ? undefined : value * 1000);
  const policy = {
    dnsName: flags.dnsName,
    idleMs: ms(flags.idle),
    deadlineMs: ms(flags.deadline),
  };
  const activeFlows = () =>
    frontmen.reduce((sum, one) => sum + one.stats().held + one.stats().forwarded, 0);
  let abort = new AbortController();
  return new Promise((resolve, reject) => {
    const follow = () => {
      abort.abort();
      abort = new AbortController();
      const { signal } = abort;
      const { state, endpoint } = where.current();
      if (state !== "elsewhere" || endpoint === undefined) return;
      watchDisposal({ policy, newHost: endpoint.host, activeFlows, log, signal })
        .over()
        .then(
          ({ reason }) => resolve(reason),
          (error: unknown) => signal.aborted || reject(error),
        );
    };
    where.subscribe(follow);
    follow();
  });
}

function append(value: string, list: string[]): string[] {
  return [...list, value];
}

function seconds(text: string): number {
  const value = Number(text);
  if (text.trim() !== "" && Number.isFinite(value) && value >= 0) return value;
  throw new UmsError("ERR_CONFIG_INVALID", `"${text}" is no number`);
}

function proxyVersion(text: string | undefined): ProxyVersion | undefined {
  if (text === undefined || text === "v1" || text === "v2") return text;
  throw new UmsError("ERR_CONFIG_INVALID", `"${text}" is no version of the PROXY protocol`, {
    hint: "write v1 or v2",
  });
}
