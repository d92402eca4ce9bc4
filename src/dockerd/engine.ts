import type { Duplex, Readable } from "node:stream";
import { text } from "node:stream/consumers";
import Docker from "dockerode";
import { UmsError } from "../errors.js";
import { within } from "../lib/deadline.js";
import { engineError } from "./engine-error.js";
import { createImageCalls, type ImageCalls } from "./images.js";

/** Ordinary calls; a busy engine on a loaded machine answered within 5 s, measured. */
const callTimeoutMs = 30_000;
/** Starting a container includes a restore when the runtime hook has one pending. */
const startTimeoutMs = 600_000;

export type ContainerInspection = Docker.ContainerInspectInfo;
export type ContainerOptions = Docker.ContainerCreateOptions;

export interface NetworkOptions {
  name: string;
  /** IPv4 CIDR. */
  subnet: string;
  gateway: string;
  /** Name of the Linux bridge, at most 15 characters. */
  bridge: string;
  labels: Record<string, string>;
}

export interface AttachOptions {
  stdin: boolean;
  output: boolean;
}

export interface LogOptions {
  /** Unix time, seconds; the engine reads fractions to the nanosecond. */
  sinceSeconds: number;
  follow: boolean;
}

export interface ContainerEnd {
  /** 128 + n when signal n ended it. */
  exitCode: number;
}

/**
 * The part of a container engine that UMS uses, over dockerode. Every call has a deadline and
 * fails with a UmsError: ERR_DOCKERD_NOT_READY (away), ERR_IMAGE_NOT_FOUND,
 * ERR_SERVICE_NOT_FOUND (no such container), ERR_SERVICE_NOT_RUNNING (conflict with its state),
 * ERR_NO_ROOM, ERR_DEADLINE, else ERR_COMMAND_FAILED with the engine's sentence.
 */
export interface Engine extends ImageCalls {
  ping(timeoutMs?: number): Promise<void>;
  version(): Promise<{ version: string; apiVersion: string }>;
  /** `dataRoot` is where images and containers lie, `storageDriver` e.g. `overlay2`. */
  info(): Promise<{ dataRoot: string; storageDriver: string; runtimes: string[] }>;

  /** Undefined when there is no such network. */
  inspectNetwork(name: string): Promise<Docker.NetworkInspectInfo | undefined>;
  createNetwork(options: NetworkOptions): Promise<void>;
  removeNetwork(name: string): Promise<void>;

  /** Undefined when there is no such container. */
  inspectContainer(id: string): Promise<ContainerInspection | undefined>;
  createContainer(options: ContainerOptions): Promise<string>;
  /** A container that already runs is no error. */
  startContainer(id: string): Promise<void>;
  /** Sends `signal`, e.g. `SIGTERM`. */
  killContainer(id: string, signal: string): Promise<void>;
  /** Kills it first when it runs; a missing one is no error. Named volumes stay. */
  removeContainer(id: string): Promise<void>;
  /** Resolves when the container has ended; no deadline, `signal` ends the wait. */
  waitContainer(id: string, signal?: AbortSignal): Promise<ContainerEnd>;
  resizeContainer(id: string, size: { rows: number; columns: number }): Promise<void>;
  /**
   * The container's standard streams: raw bytes for a container with a TTY, else the engine's
   * frames (nested/frames.ts). Backpressure reaches the service's own pipe.
   */
  attachContainer(id: string, options: AttachOptions): Promise<Duplex>;
  /** What the log driver kept, in the framing of {@link attachContainer}. */
  containerLogs(id: string, options: LogOptions): Promise<Readable>;
  /** Unpacks a tar archive into a container that need not run. */
  putArchive(id: string, path: string, archive: Readable): Promise<void>;
  /** A tar archive of a file or directory of a container; undefined when there is none. */
  getArchive(id: string, path: string): Promise<Readable | undefined>;
  /** Makes an image of a container; `config` is laid over the container's own. */
  commitContainer(id: string, tag: string, config: object): Promise<string>;

  /** Host directory of a named volume, which is created when missing. */
  ensureVolume(name: string, labels: Record<string, string>): Promise<string>;
}

/**
 * Opens an engine by its address as in DOCKER_HOST: `unix:///path`, `tcp://host:port` or `ssh://`.
 * Nothing is connected before the first call.
 * @throws ERR_CONFIG_INVALID when the address is of another kind
 */
export function openEngine(address: string): Engine {
  const docker = new Docker(connectionOptions(address));
  return {
    ...createImageCalls(docker, call),
    ...createNetworkCalls(docker),
    ...createContainerCalls(docker),
    ...createStreamCalls(docker),
    async ping(timeoutMs = 2_000) {
      await call("ping", docker.ping(), timeoutMs);
    },
    async version() {
      const { Version, ApiVersion } = await call("version", docker.version());
      return { version: Version, apiVersion: ApiVersion };
    },
    async info() {
      const info = await call("info", docker.info());
      const { DockerRootDir, Driver, Runtimes } = info;
      return {
        dataRoot: DockerRootDir,
        storageDriver: Driver,
        runtimes: Object.keys(Runtimes ?? {}),
      };
    },
    async ensureVolume(name, labels) {
      await call(`create volume ${name}`, docker.createVolume({ Name: name, Labels: labels }));
      return (await call(`inspect volume ${name}`, docker.getVolume(name).inspect())).Mountpoint;
    },
  };
}

/** Waits for an engine call within a deadline and translates its failure. */
export async function call<T>(
  what: string,
  work: Promise<T>,
  timeoutMs: number = callTimeoutMs,
): Promise<T> {
  try {
    return await within(timeoutMs, what, work);
  } catch (error) {
    throw engineError(what, error);
  }
}

export type Call = typeof call;

function connectionOptions(address: string): Docker.DockerOptions {
  if (address.startsWith("unix://")) return { socketPath: address.slice("unix://".length) };
  const url = URL.canParse(address) ? new URL(address) : undefined;
  const protocol = { "tcp:": "http", "http:": "http", "https:": "https", "ssh:": "ssh" } as const;
  if (url === undefined || !(url.protocol in protocol)) {
    throw new UmsError("ERR_CONFIG_INVALID", `DOCKER_HOST=${address} is not an engine's address`);
  }
  return {
    protocol: protocol[url.protocol as keyof typeof protocol],
    host: url.hostname,
    port: url.port === "" ? (url.protocol === "ssh:" ? 22 : 2375) : Number(url.port),
    ...(url.username === "" ? {} : { username: url.username }),
  };
}

function createNetworkCalls(docker: Docker) {
  return {
    inspectNetwork: (name: string) =>
      orMissing(
        call(
          `inspect network ${name}`,
          docker.getNetwork(name).inspect() as Promise<Docker.NetworkInspectInfo>,
        ),
      ),
    async createNetwork(options: NetworkOptions): Promise<void> {
      const network = docker.createNetwork({
        Name: options.name,
        Driver: "bridge",
        Labels: options.labels,
        IPAM: { Driver: "default", Config: [{ Subnet: options.subnet, Gateway: options.gateway }] },
        Options: { "com.docker.network.bridge.name": options.bridge },
      });
      await call(`create network ${options.name}`, network);
    },
    async removeNetwork(name: string): Promise<void> {
      await call(`remove network ${name}`, docker.getNetwork(name).remove());
    },
  };
}

function createContainerCalls(docker: Docker) {
  return {
    inspectContainer: (id: string) =>
      orMissing(call(`inspect container ${id}`, docker.getContainer(id).inspect())),
    async createContainer(options: ContainerOptions): Promise<string> {
      const what = `create container ${options.name ?? ""}`.trimEnd();
      return (await call(what, docker.createContainer(options))).id;
    },
    async startContainer(id: string): Promise<void> {
      await call(
        `start container ${id}`,
        unlessStatus(304, docker.getContainer(id).start()),
        startTimeoutMs,
      );
    },
    async killContainer(id: string, signal: string): Promise<void> {
      await call(`send ${signal} to container ${id}`, docker.getContainer(id).kill({ signal }));
    },
    async removeContainer(id: string): Promise<void> {
      const removal = docker.getContainer(id).remove({ force: true, v: true });
      await call(`remove container ${id}`, unlessStatus(404, removal));
    },
    async waitContainer(id: string, signal?: AbortSignal): Promise<ContainerEnd> {
      try {
        const body = await text(await openWait(docker, id, signal));
        return { exitCode: (JSON.parse(body) as { StatusCode: number }).StatusCode };
      } catch (error) {
        if (signal?.aborted) throw new UmsError("ERR_CANCELLED", "the wait was ended");
        throw engineError(`wait for container ${id}`, error);
      }
    },
    async resizeContainer(id: string, size: { rows: number; columns: number }): Promise<void> {
      const request = docker.getContainer(id).resize({ h: size.rows, w: size.columns });
      await call(`resize container ${id}`, request);
    },
    async commitContainer(id: string, tag: string, config: object): Promise<string> {
      // Text after the last colon is the tag only when no path follows it (registry:5000/name).
      const [, repo = tag, version = "latest"] = /^(.+?)(?::([^/:]+))?$/.exec(tag) ?? [];
      const request = docker.getContainer(id).commit({
        _query: { container: id, repo, tag: version },
        _body: config,
      });
      return (await call(`commit ${tag}`, request, startTimeoutMs)).Id;
    },
  };
}

/**
 * The answer to a wait as a stream: the engine sends the header at once and the body at the end,
 * and docker-modem never settles a call whose connection breaks in between (seen with 5.0.7 when
 * dockerd was killed). Reading a stream fails then.
 */
function openWait(docker: Docker, id: string, signal?: AbortSignal): Promise<Readable> {
  return new Promise((resolve, reject) => {
    docker.modem.dial(
      {
        path: `/containers/${id}/wait`,
        method: "POST",
        isStream: true,
        statusCodes: { 200: true, 404: "no such container", 500: "server error" },
        ...(signal === undefined ? {} : { abortSignal: signal }),
      },
      (error, response) => (error ? reject(error) : resolve(response as Readable)),
    );
  });
}

/**
 * A key sequence nobody types: the engine's default, ctrl-p ctrl-q, would swallow the service's
 * own ctrl-p (moby: pkg/term escape proxy; an empty setting means the default).
 */
const detachKeys = "ctrl-@,ctrl-_,ctrl-@,ctrl-_";

function createStreamCalls(docker: Docker) {
  return {
    async attachContainer(id: string, options: AttachOptions): Promise<Duplex> {
      const request = docker.getContainer(id).attach({
        stream: true,
        hijack: true,
        stdin: options.stdin,
        stdout: options.output,
        stderr: options.output,
        detachKeys,
      });
      return (await call(`attach container ${id}`, request)) as unknown as Duplex;
    },
    async containerLogs(id: string, options: LogOptions): Promise<Readable> {
      const request = docker.getContainer(id).logs({
        // With `follow: false` dockerode collects everything in memory; the stream is wanted.
        follow: true,
        stdout: true,
        stderr: true,
        since: options.sinceSeconds,
        ...(options.follow ? {} : { until: Math.ceil(Date.now() / 1000) }),
      });
      return (await call(`logs of container ${id}`, request)) as unknown as Readable;
    },
    async putArchive(id: string, path: string, archive: Readable): Promise<void> {
      const request = docker.getContainer(id).putArchive(archive, { path });
      await call(`copy into container ${id}`, request, startTimeoutMs);
    },
    async getArchive(id: string, path: string): Promise<Readable | undefined> {
      const request = docker.getContainer(id).getArchive({ path });
      return (await orMissing(call(`copy ${path} out of ${id}`, request))) as Readable | undefined;
    },
  };
}

/** Undefined in place of ERR_SERVICE_NOT_FOUND, the engine's "no such object". */
async function orMissing<T>(work: Promise<T>): Promise<T | undefined> {
  try {
    return await work;
  } catch (error) {
    if (error instanceof UmsError && error.code === "ERR_SERVICE_NOT_FOUND") return undefined;
    throw error;
  }
}

/** Ignores one status: the wanted state is already there. */
async function unlessStatus(status: number, work: Promise<unknown>): Promise<void> {
  try {
    await work;
  } catch (error) {
    if ((error as { statusCode?: number }).statusCode !== status) throw error;
  }
}
