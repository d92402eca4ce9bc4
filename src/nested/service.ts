import { rm } from "node:fs/promises";
import { join } from "node:path";
import type { Duplex } from "node:stream";
import type { Daemon } from "../dockerd/daemon.js";
import type { ContainerInspection, Engine } from "../dockerd/engine.js";
import { UmsError } from "../errors.js";
import { within } from "../lib/deadline.js";
import { type Deferred, deferred } from "../lib/deferred.js";
import type { Logger } from "../lib/log.js";
import type { NetworkSpec, ServiceSpec } from "../spec.js";
import { containerOptions } from "./create.js";
import { ensureHolder, ensureHolderImage, forgetConnections } from "./holder.js";
import { type LifeContext, passOutput, type ServiceExit, untilExit } from "./life.js";
import { serviceName, volumeName } from "./names.js";
import { ensureNetwork } from "./network.js";
import { type Output, openOutput } from "./output.js";
import { connectTerminal, type ServiceStdio } from "./stdio.js";

export type ServiceState = "absent" | "created" | "running" | "exited" | "departed";

export interface NestedServiceOptions {
  engine: Engine;
  daemon: Daemon;
  log: Logger;
  stdio: ServiceStdio;
  /** tmpfs directory for the output's position. */
  runDir: string;
  hasHookRuntime: boolean;
  /** RLIMIT_NOFILE of the outer container. */
  maxOpenFiles: number;
}

/** The end of this copy of the service, announced: the running one is elsewhere. */
export interface Departure {
  /** The copy has left: its end does not end the supervisor. */
  complete(): void;
  /** It stays after all; an end seen in between counts as the service's own. */
  cancel(): void;
}

/**
 * The one nested service of this outer container.
 *
 * States: absent -> created -> running -> exited | departed; a departed one may come back, which
 * begins with `create` again.
 */
export interface NestedService {
  state(): ServiceState;
  /** The container as the engine knows it; undefined when there is none. */
  inspect(): Promise<ContainerInspection | undefined>;
  /** Makes network and holder ready for `spec`, keeping what fits. @returns the holder's id */
  prepare(spec: ServiceSpec): Promise<string>;
  /** Does ahead of the first service what every one needs: an arrival then waits less. */
  warmUp(network: NetworkSpec): Promise<void>;
  /** Creates the container, replacing one that exists; does not start it. @returns its id */
  create(spec: ServiceSpec): Promise<string>;
  /**
   * Attaches its streams, then starts the created (or stopped) container. With a pending restore
   * the runtime hook restores it instead; the call then lasts as long as the restore.
   */
  start(): Promise<void>;
  /** Takes over the container that already runs, continuing its output. */
  adopt(): Promise<void>;
  /** Sends a signal, e.g. `SIGHUP`. */
  kill(signal: string): Promise<void>;
  /** The service's own stop signal, then SIGKILL after `timeoutMs`. Resolves when it has ended. */
  stop(timeoutMs: number): Promise<void>;
  /**
   * Removes the container, e.g. after it has departed. Volumes stay, and so does the holder: with
   * its endpoint dockerd would delete every connection of the address from conntrack, those too
   * that are relayed to the service's new place. An answer under way then finds no translation and
   * is dropped, however often it is repeated, until the client speaks (measured: in 3 of 4
   * migrations a client that waits for an answer waits for ever).
   */
  remove(): Promise<void>;
  /** Resolves when the service ends for good here; never for a departed copy. */
  waitExit(): Promise<ServiceExit>;
  /** To be called before a migration kills this copy of the service. */
  planDeparture(): Departure;
  /** Ends the watch and leaves the container as it is. */
  close(): Promise<void>;
}

const outputDrainMs = 5_000;
const killGraceMs = 10_000;

export function createNestedService(options: NestedServiceOptions): NestedService {
  return new Service(options);
}

class Service implements NestedService {
  readonly #options: NestedServiceOptions;
  readonly #closing = new AbortController();
  readonly #exit: Deferred<ServiceExit> = deferred();
  #state: ServiceState = "absent";
  #containerId: string | undefined;
  #departure: Promise<"complete" | "cancel"> | undefined;
  /** Settles when the container that was started or adopted last has ended. Never rejects. */
  #life: Promise<void> = Promise.resolve();

  constructor(options: NestedServiceOptions) {
    this.#options = options;
  }

  state(): ServiceState {
    return this.#state;
  }

  inspect(): Promise<ContainerInspection | undefined> {
    return this.#options.engine.inspectContainer(this.#containerId ?? serviceName);
  }

  async prepare(spec: ServiceSpec): Promise<string> {
    const { engine } = this.#options;
    await ensureNetwork(engine, spec.network);
    return await ensureHolder(engine, spec.network, spec.hostname);
  }

  async warmUp(network: NetworkSpec): Promise<void> {
    const { engine } = this.#options;
    await Promise.all([ensureNetwork(engine, network), ensureHolderImage(engine)]);
  }

  async create(spec: ServiceSpec): Promise<string> {
    const { engine, hasHookRuntime, maxOpenFiles } = this.#options;
    const existing = await engine.inspectContainer(serviceName);
    if (existing !== undefined) await engine.removeContainer(existing.Id);
    const holderId = await this.prepare(spec);
    await forgetConnections(engine, holderId);
    for (const mount of spec.mounts.filter(({ origin }) => origin === "volume")) {
      await engine.ensureVolume(volumeName(mount.destination), {});
    }
    this.#containerId = await engine.createContainer(
      containerOptions(spec, { holderId, hasHookRuntime, maxOpenFiles }),
    );
    this.#departure = undefined;
    this.#state = "created";
    return this.#containerId;
  }

  async start(): Promise<void> {
    const { engine, stdio, log } = this.#options;
    const container = await this.#require();
    const output = this.#openOutput(container);
    const attached = await this.#attach(container);
    const copying = output.copy(attached);
    try {
      const stdin = await this.#openStdin(container, attached);
      await engine.startContainer(container.Id);
      if (container.Config.Tty) connectTerminal(stdio, engine, container.Id, log);
      if (stdin !== undefined) stdio.stdin?.pipe(stdin);
    } catch (error) {
      attached.destroy();
      await copying.catch(() => {
        // The start has failed; that its stream broke off is part of that.
      });
      output.forget();
      output.close();
      throw error;
    }
    this.#follow(container.Id, output, copying);
  }

  async adopt(): Promise<void> {
    const { engine, stdio, log } = this.#options;
    const container = await this.#require();
    const output = this.#openOutput(container);
    // A terminal shows whole lines only when they come from the log: its bytes are wanted now.
    if (!container.Config.Tty) return this.#follow(container.Id, output, output.resume());
    const attached = await this.#attach(container);
    const stdin = await this.#openStdin(container, attached);
    if (stdin !== undefined) stdio.stdin?.pipe(stdin);
    connectTerminal(stdio, engine, container.Id, log);
    this.#follow(container.Id, output, output.copy(attached));
  }

  async kill(signal: string): Promise<void> {
    await this.#options.engine.killContainer((await this.#require()).Id, signal);
  }

  async stop(timeoutMs: number): Promise<void> {
    const { engine, log } = this.#options;
    const { Id, Config, State } = await this.#require();
    if (!State.Running) return;
    const { StopSignal } = Config as { StopSignal?: string };
    await engine.killContainer(Id, StopSignal || "SIGTERM");
    try {
      await within(timeoutMs, "stop of the service", this.#life);
    } catch {
      // Only the deadline can be the reason.
      log.warn({ timeoutMs }, "service did not stop in time: killing it");
      await engine.killContainer(Id, "SIGKILL").catch((error) => {
        log.debug({ err: error }, "it ended in the same moment");
      });
      await within(killGraceMs, "end of the killed service", this.#life);
    }
  }

  async remove(): Promise<void> {
    const { engine } = this.#options;
    // Also one that an earlier supervisor made, and this one never needed.
    const containerId = this.#containerId ?? (await this.inspect())?.Id;
    if (containerId !== undefined) {
      await engine.removeContainer(containerId);
      await rm(this.#positionPath(containerId), { force: true });
    }
    this.#containerId = undefined;
    if (this.#state !== "departed") this.#state = "absent";
  }

  waitExit(): Promise<ServiceExit> {
    return this.#exit.promise;
  }

  planDeparture(): Departure {
    const outcome = deferred<"complete" | "cancel">();
    this.#departure = outcome.promise;
    return {
      complete: () => outcome.resolve("complete"),
      cancel: () => {
        this.#departure = undefined;
        outcome.resolve("cancel");
      },
    };
  }

  async close(): Promise<void> {
    this.#closing.abort();
    await within(outputDrainMs, "end of the service's watch", this.#life);
  }

  async #require(): Promise<ContainerInspection> {
    const container = await this.inspect();
    if (container === undefined) {
      throw new UmsError("ERR_SERVICE_NOT_FOUND", "there is no nested service here");
    }
    this.#containerId = container.Id;
    return container;
  }

  #openOutput(container: ContainerInspection): Output {
    const { engine, stdio } = this.#options;
    return openOutput({
      engine,
      containerId: container.Id,
      isTty: container.Config.Tty,
      stdoutFd: stdio.stdoutFd,
      stderrFd: stdio.stderrFd,
      positionPath: this.#positionPath(container.Id),
    });
  }

  #positionPath(containerId: string): string {
    return join(this.#options.runDir, `output-${containerId.slice(0, 12)}`);
  }

  /** A terminal has one stream for both directions. */
  #attach(container: ContainerInspection): Promise<Duplex> {
    const { Tty, OpenStdin } = container.Config;
    return this.#options.engine.attachContainer(container.Id, {
      stdin: Tty && OpenStdin,
      output: true,
    });
  }

  /** Where the outer's stdin goes; undefined when the service has none. */
  async #openStdin(container: ContainerInspection, attached: Duplex): Promise<Duplex | undefined> {
    const { engine, stdio, log } = this.#options;
    if (stdio.stdin === undefined || !container.Config.OpenStdin) return undefined;
    const stdin = container.Config.Tty
      ? attached
      : await engine.attachContainer(container.Id, { stdin: true, output: false });
    stdin.on("error", (error) => log.debug({ err: error }, "stdin of the service closed"));
    return stdin;
  }

  /** Follows output and life of the running container to its end. */
  #follow(id: string, output: Output, first: Promise<void>): void {
    const { engine, daemon, log } = this.#options;
    const context: LifeContext = { engine, daemon, log, signal: this.#closing.signal };
    this.#state = "running";
    const passing = passOutput(context, id, first, output);
    passing.catch(() => {
      // Awaited in #conclude; here it only must not count as unhandled until then.
    });
    this.#life = untilExit(context, id)
      .then((exit) => this.#conclude(exit, passing))
      .then(() => output.forget())
      .catch((error: unknown) => {
        if (!this.#closing.signal.aborted) this.#exit.reject(error);
      })
      .finally(() => output.close());
  }

  async #conclude(exit: ServiceExit, passing: Promise<void>): Promise<void> {
    await within(outputDrainMs, "rest of the service's output", passing).catch((error) => {
      this.#options.log.warn({ err: error }, "output of the service cut short");
    });
    const outcome = (await this.#departure) ?? "cancel";
    this.#state = outcome === "complete" ? "departed" : "exited";
    if (outcome === "cancel") this.#exit.resolve(exit);
  }
}
