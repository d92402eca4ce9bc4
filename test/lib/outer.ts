/**
 * Outer containers on the machine's own engine, run by the docker client as users do, with
 * certificates of one authority. Shared by the end-to-end tests and by `make demo`.
 */
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ErrorCode } from "../../src/errors.js";
import { connectRemote, type OperatorClient } from "../../src/grpc/operator-client.js";
import { poll, within } from "../../src/lib/deadline.js";
import { run } from "../../src/lib/exec.js";
import type { ResultView, ServiceStatus } from "../../src/migration/view.js";
import { serviceName } from "../../src/nested/names.js";
import { readIdentity } from "../../src/peer/identity.js";
import { initAuthority, issueCertificate } from "../../src/peer/pki.js";
import type { PeerRole } from "../../src/transfer/security.js";
import { bridgeAddress } from "./bridge-address.js";
import { type CommandResult, finish } from "./command.js";
import { plainOuterImage } from "./outer-image.js";
import { removeOuters } from "./remove-outer.js";

/** Every container and volume of a lab carries it, with the lab's name as its value. */
const label = "ums.test";
const defaultPeerPort = 9750;
const httpPort = 9751;
/** Inner engine, load of the nested image and start of the service, on a busy machine. */
const bootTimeoutMs = 120_000;
const migrateTimeoutMs = 180_000;

export interface OuterOptions {
  /** Default: the plain outer image, standing by to receive a service. */
  image?: string;
  env?: Record<string, string>;
  /** Further flags of `docker run`. */
  flags?: readonly string[];
  /** Arguments of the service. */
  args?: readonly string[];
  /** Ports of the service that are published, `7003/udp` or TCP; see {@link OuterContainer.port}. */
  ports?: readonly (number | `${number}/udp`)[];
  /** A network of the lab; default is the engine's own bridge. */
  network?: string;
  /** Certificates of another authority than the lab's. */
  tlsDirectory?: string;
}

/** What `ums migrate --output json` prints. */
export interface MigrationResult extends Omit<ResultView, "failure"> {
  failure?: {
    code: ErrorCode;
    message: string;
    hint?: string;
    details?: { logPath?: string };
  };
}

export interface Migrated extends CommandResult {
  /** Undefined when the request itself was refused. */
  result: MigrationResult | undefined;
  /** Of the failure, wherever it was told; undefined when the service has moved. */
  code: string | undefined;
}

export interface OuterContainer {
  readonly name: string;
  /** As the engine has it. */
  readonly id: string;
  readonly ip: string;
  /** Of the Migration Interface. */
  readonly peerAddress: string;
  /** Where a published port of the service is reached, through the engine's DNAT. */
  port(servicePort: number, protocol?: "tcp" | "udp"): { host: string; port: number };
  /** Runs a command in the outer container. */
  exec(...argv: string[]): Promise<CommandResult>;
  /** Runs a shell script in the nested service. @throws when it does not exit with 0 */
  inService(script: string): Promise<string>;
  /** As `inService`, as root whatever user the service has. */
  asRoot(script: string): Promise<string>;
  ums(...argv: string[]): Promise<CommandResult>;
  migrate(to: OuterContainer | string, ...flags: string[]): Promise<Migrated>;
  /** Migrates and expects success. */
  move(to: OuterContainer, ...flags: string[]): Promise<MigrationResult>;
  status(): Promise<ServiceStatus>;
  /** What the service has printed here. */
  printed(): Promise<string>;
  remove(): Promise<void>;
}

export interface OuterLab {
  /** Starts an outer container; resolves when it is ready. */
  start(name: string, options?: OuterOptions): Promise<OuterContainer>;
  /** A named volume that ends with the lab. */
  volume(name: string): Promise<string>;
  /** Another bridge network of the engine; ends with the lab. Bridges do not reach each other. */
  network(name: string): Promise<string>;
  /** The machine's own address that ports are published at. */
  readonly publishAddress: string;
  /** Orders by gRPC, for what must come at the right moment; to be closed. */
  operate(outer: OuterContainer, as?: { name: string; role?: PeerRole }): Promise<OperatorClient>;
  /** What the supervisor has logged. */
  log(outer: OuterContainer): Promise<string>;
  close(): Promise<void>;
}

/** @param prefix begins the names of all that the lab makes; left-overs of an earlier run go */
export async function openOuterLab(prefix: string): Promise<OuterLab> {
  await removeLabelled(prefix);
  const directory = await mkdtemp(join(tmpdir(), `${prefix}-`));
  const authority = join(directory, "ca");
  await initAuthority(authority);
  const flags = (await run(["scripts/outer-flags.sh"])).stdout.trim().split("\n");
  // 127.0.0.1 would go through a proxy process instead of DNAT.
  const publishAddress = await bridgeAddress();
  const operators = new Map<string, Promise<unknown>>();

  return {
    async start(suffix, options = {}) {
      const name = `${prefix}-${suffix}`;
      const tls = options.tlsDirectory ?? join(directory, suffix);
      if (options.tlsDirectory === undefined) {
        await rm(tls, { recursive: true, force: true });
        await issueCertificate({ directory: authority, name: suffix, out: tls });
      }
      const isPassive = options.image === undefined;
      const mode = isPassive ? { UMS_START_MODE: "passive" } : {};
      // Its peers are the lab's own; a test of who may migrate where says so itself.
      const own: Record<string, string> = { UMS_ALLOW_FROM: "*", ...mode };
      const env: Record<string, string> = { ...own, ...options.env };
      await run([
        ...["docker", "run", "-d", "--name", name, "--hostname", name, ...flags],
        ...["--label", `${label}=${prefix}`, "-v", `${tls}:/etc/ums/tls:ro`],
        ...Object.entries(env).flatMap(([key, value]) => ["-e", `${key}=${value}`]),
        ...(options.ports ?? []).flatMap((port) => ["-p", `${publishAddress}::${port}`]),
        ...(options.network === undefined ? [] : ["--network", options.network]),
        ...(options.flags ?? []),
        options.image ?? plainOuterImage,
        ...(options.args ?? []),
      ]);
      return await whenReady(name, Number(env["UMS_PEER_PORT"] ?? defaultPeerPort));
    },
    async volume(suffix) {
      const name = `${prefix}-${suffix}`;
      await run(["docker", "volume", "create", "--label", `${label}=${prefix}`, name]);
      return name;
    },
    async network(suffix) {
      const name = `${prefix}-${suffix}`;
      await run(["docker", "network", "create", "--label", `${label}=${prefix}`, name]);
      return name;
    },
    publishAddress,
    async operate(outer, { name, role = "operator" } = { name: "operator" }) {
      const out = join(directory, `${role}-${name}`);
      const issued =
        operators.get(out) ?? issueCertificate({ directory: authority, name, role, out });
      operators.set(out, issued);
      await issued;
      return connectRemote(outer.peerAddress, readIdentity(out));
    },
    log: async ({ name }) => (await finish(["docker", "logs", name])).stderr,
    async close() {
      await removeLabelled(prefix);
      await rm(directory, { recursive: true, force: true });
    },
  };
}

/** Where the service is must not matter to a caller that wants it alive: asks until it answers. */
async function whenReady(name: string, peerPort: number): Promise<OuterContainer> {
  const addresses = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}";
  const [ip = ""] = (await inspect(name, addresses)).split(" ");
  const isReady = async () => {
    const state = await inspect(name, "{{.State.Status}}");
    if (state !== "running") throw new Error(`${name} is ${state}: ${await lastLogLines(name)}`);
    return (await isHttpReady(ip)) && (await isListening(ip, peerPort));
  };
  await poll(`${name} is ready`, isReady, { timeoutMs: bootTimeoutMs, intervalMs: 200 });
  const published = JSON.parse(await inspect(name, "{{json .NetworkSettings.Ports}}"));
  return new Container(name, await inspect(name, "{{.Id}}"), ip, peerPort, published);
}

type PublishedPorts = Record<string, { HostIp: string; HostPort: string }[] | null>;

class Container implements OuterContainer {
  constructor(
    readonly name: string,
    readonly id: string,
    readonly ip: string,
    private readonly peerPort: number,
    private readonly published: PublishedPorts,
  ) {}

  get peerAddress(): string {
    return `${this.ip}:${this.peerPort}`;
  }

  port(servicePort: number, protocol = "tcp") {
    const [binding] = this.published[`${servicePort}/${protocol}`] ?? [];
    if (binding === undefined) throw new TypeError(`port ${servicePort} is not published`);
    return { host: binding.HostIp, port: Number(binding.HostPort) };
  }

  exec(...argv: string[]): Promise<CommandResult> {
    return finish(["docker", "exec", this.name, ...argv]);
  }

  async inService(script: string): Promise<string> {
    return outputOf(script, await this.ums("exec", "--", "sh", "-c", script));
  }

  async asRoot(script: string): Promise<string> {
    const argv = ["docker", "exec", "-u", "0", serviceName, "sh", "-c", script];
    return outputOf(script, await this.exec(...argv));
  }

  ums(...argv: string[]): Promise<CommandResult> {
    return finish(["docker", "exec", this.name, "ums", ...argv], { timeoutMs: migrateTimeoutMs });
  }

  async migrate(to: OuterContainer | string, ...flags: string[]): Promise<Migrated> {
    const address = typeof to === "string" ? to : to.peerAddress;
    const done = await this.ums("migrate", "--to", address, "--output", "json", ...flags);
    const result = done.stdout === "" ? undefined : (JSON.parse(done.stdout) as MigrationResult);
    const code = result?.failure?.code ?? /\((ERR_[A-Z_]+)\)/.exec(done.stderr)?.[1];
    return { ...done, result, code };
  }

  async move(to: OuterContainer, ...flags: string[]): Promise<MigrationResult> {
    const { exitCode, result, stderr } = await this.migrate(to, ...flags);
    if (exitCode === 0 && result?.outcome === "moved") return result;
    throw new Error(
      `${this.name} did not move to ${to.name} (exit code ${exitCode}): ${stderr}\n` +
        `${this.name}: ${await lastLogLines(this.name)}\n${to.name}: ${await lastLogLines(to.name)}`,
    );
  }

  async status(): Promise<ServiceStatus> {
    const { stdout, stderr } = await this.ums("status", "--output", "json");
    if (stdout === "") throw new Error(`no status of ${this.name}: ${stderr}`);
    return JSON.parse(stdout) as ServiceStatus;
  }

  async printed(): Promise<string> {
    return (await finish(["docker", "logs", this.name])).stdout;
  }

  async remove(): Promise<void> {
    await removeOuters([this.name]);
  }
}

function outputOf(script: string, { exitCode, stdout, stderr }: CommandResult): string {
  if (exitCode !== 0) throw new Error(`exit code ${exitCode} of ${script}: ${stderr}`);
  return stdout;
}

async function isHttpReady(ip: string): Promise<boolean> {
  try {
    const answer = await fetch(`http://${ip}:${httpPort}/readyz`, {
      signal: AbortSignal.timeout(2_000),
    });
    await answer.text();
    return answer.ok;
  } catch {
    // Not listening yet, or too busy to answer: asked again.
    return false;
  }
}

async function isListening(host: string, port: number): Promise<boolean> {
  const socket = connect({ host, port });
  try {
    await within(2_000, "a connection", once(socket, "connect"));
    return true;
  } catch {
    // Not listening yet: asked again.
    return false;
  } finally {
    socket.destroy();
  }
}

async function inspect(name: string, format: string): Promise<string> {
  return (await run(["docker", "inspect", "--format", format, name])).stdout.trim();
}

async function lastLogLines(name: string): Promise<string> {
  const { stderr } = await finish(["docker", "logs", "--tail", "30", name]);
  return `the supervisor's last lines:\n${stderr}`;
}

async function removeLabelled(prefix: string): Promise<void> {
  const filter = ["--quiet", "--filter", `label=${label}=${prefix}`];
  const ids = async (...argv: string[]) =>
    (await run(["docker", ...argv, ...filter])).stdout.split("\n").filter((id) => id !== "");
  await removeOuters(await ids("ps", "--all"));
  const volumes = await ids("volume", "ls");
  if (volumes.length > 0) await run(["docker", "volume", "rm", ...volumes]);
  const networks = await ids("network", "ls");
  if (networks.length > 0) await run(["docker", "network", "rm", ...networks]);
}
