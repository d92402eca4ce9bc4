import Docker from "dockerode";
import { UmsError } from "../../errors.js";
import { within } from "../../lib/deadline.js";

/** Creating, starting and removing wait for the engine's own work; 20 s seen on a busy machine. */
const slowTimeoutMs = 180_000;

/** The engine's API with deadlines, and its failures as those of an orchestrator. */
export interface DockerApi {
  /**
   * A call that an engine answers at once.
   * @param what a noun phrase for the error, e.g. `the list of containers`
   * @throws ERR_ORCHESTRATOR_UNAVAILABLE, ERR_ORCHESTRATOR_REFUSED
   */
  quick<T>(what: string, act: (docker: Docker) => Promise<T>): Promise<T>;
  /** A call for which the engine works: create, start, remove. */
  slow<T>(what: string, act: (docker: Docker) => Promise<T>): Promise<T>;
  /** A call whose answer is a stream: no limit for silence on it. */
  stream<T>(what: string, act: (docker: Docker) => Promise<T>, timeoutMs: number): Promise<T>;
  /** The container, or undefined when there is none. */
  inspect(id: string): Promise<Docker.ContainerInspectInfo | undefined>;
}

/**
 * @param address as in DOCKER_HOST: `unix:///path` or `tcp://host:port`
 * @throws ERR_CONFIG_INVALID for another kind of address
 */
export function openApi(address: string, callTimeoutMs: number): DockerApi {
  const connection = connectionOptions(address);
  // The client's own timeout ends the request when nothing comes; `within` when too little does.
  const caller = (timeoutMs: number) => {
    const docker = new Docker({ ...connection, timeout: timeoutMs });
    return <T>(what: string, act: (docker: Docker) => Promise<T>): Promise<T> =>
      ask(address, what, act(docker), timeoutMs + 1_000);
  };
  const quick = caller(callTimeoutMs);
  const streams = new Docker(connection);
  return {
    quick,
    slow: caller(Math.max(slowTimeoutMs, callTimeoutMs)),
    stream: (what, act, timeoutMs) => ask(address, what, act(streams), timeoutMs),
    inspect: (id) =>
      orMissing(quick(`container ${id}`, (docker) => docker.getContainer(id).inspect())),
  };
}

/** Turns the engine's 404 into undefined. */
export async function orMissing<T>(work: Promise<T>): Promise<T | undefined> {
  try {
    return await work;
  } catch (error) {
    if (statusOf(error) === 404) return undefined;
    throw error;
  }
}

/** The engine's HTTP status behind an error of {@link DockerApi}. */
export function statusOf(error: unknown): number | undefined {
  const status = error instanceof UmsError ? error.details["statusCode"] : undefined;
  return typeof status === "number" ? status : undefined;
}

/** @param reason the engine's own words */
export function refused(what: string, reason: string, details: object = {}): UmsError {
  return new UmsError("ERR_ORCHESTRATOR_REFUSED", `${what}: ${reason}`, {
    details: { reason, ...details },
  });
}

async function ask<T>(
  address: string,
  what: string,
  work: Promise<T>,
  timeoutMs: number,
): Promise<T> {
  try {
    return await within(timeoutMs, what, work);
  } catch (error) {
    throw dockerError(address, what, error);
  }
}

/** An answer of the engine has a status code; whatever has none is no answer. */
function dockerError(address: string, what: string, thrown: unknown): UmsError {
  const { statusCode, json, message } = thrown as {
    statusCode?: number;
    json?: { message?: string };
    message?: string;
  };
  if (statusCode === undefined) {
    const reason = message ?? String(thrown);
    return new UmsError(
      "ERR_ORCHESTRATOR_UNAVAILABLE",
      `${what}: the Docker engine at ${address} does not answer: ${reason}`,
      { cause: thrown, hint: "check that the engine runs and that its socket may be used" },
    );
  }
  return refused(what, json?.message ?? message ?? "no reason given", { statusCode });
}

function connectionOptions(address: string): Docker.DockerOptions {
  if (address.startsWith("unix:///")) return { socketPath: address.slice("unix://".length) };
  const url = URL.canParse(address) ? new URL(address) : undefined;
  if (url?.protocol !== "tcp:" || url.hostname === "") {
    throw new UmsError("ERR_CONFIG_INVALID", `${address} is no address of a Docker engine`, {
      hint: "write unix:///var/run/docker.sock or tcp://HOST:PORT",
    });
  }
  return { protocol: "http", host: url.hostname, port: Number(url.port || 2375) };
}
