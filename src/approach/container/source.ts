/** Container level, the end that has the service: a nested container of the inner engine. */
import { join } from "node:path";
import type { Duplex } from "node:stream";
import { type PreparedDump, prepareDump, removeDump } from "../../checkpoint/dump.js";
import type { Engine } from "../../dockerd/engine.js";
import { UmsError } from "../../errors.js";
import type { Faults } from "../../lib/faults.js";
import type { Logger } from "../../lib/log.js";
import { nestedPaths } from "../../nested/paths.js";
import type { NestedService } from "../../nested/service.js";
import { listFlows } from "../../network/flows.js";
import type { Hold } from "../../network/hold.js";
import { type Freezer, freezerOf } from "../../oci/freezer.js";
import type { Facts, ServiceSpec } from "../../spec.js";
import { sendImage } from "../../sync/image-layers.js";
import { measureTree } from "../../sync/measure.js";
import {
  type Departure,
  type Dumped,
  dumpTimeoutMs,
  type SourceSession,
  type SourceSide,
} from "../contract.js";
import { queuedDatagramBytes, untilRead } from "./datagrams.js";
import { createFileSync, type FileSync } from "./file-sync.js";
import { untilConnected } from "./handshakes.js";
import { residentBytes } from "./memory.js";
import type { RelayKeeper } from "./relay-keeper.js";
import { fileTrees } from "./trees.js";
import { checkSupported } from "./unsupported.js";

export interface ContainerSourceDeps {
  service: NestedService;
  engine: Engine;
  /** The service's data plane; opened with the service's network. */
  hold(): Hold;
  /** Conntrack's mark of what comes by the peer's tunnel; undefined when it has none here. */
  inletMark(peerName: string): number | undefined;
  facts: Facts;
  spec(): ServiceSpec;
  /** Keeps the traffic going to where the service has gone. */
  relays: RelayKeeper;
  log: Logger;
  faults: Faults;
  /** Private directory on tmpfs. */
  runDir: string;
}

export function createContainerSource(deps: ContainerSourceDeps): SourceSide {
  return new ContainerSource(deps);
}

class ContainerSource implements SourceSide {
  private files: FileSync | undefined;
  private prepared: PreparedDump | undefined;
  private relayStream: Duplex | undefined;
  private freezer: Freezer | undefined;
  private pid: number | undefined;

  constructor(private readonly deps: ContainerSourceDeps) {}

  facts(): Promise<Facts> {
    return Promise.resolve(this.deps.facts);
  }

  async describe(): Promise<Departure> {
    const { container, freezer } = await this.running();
    const pids = await freezer.pids();
    await checkSupported(pids);
    const spec = this.deps.spec();
    const trees = await fileTrees(await nestedPaths(container), spec.mounts);
    const sizes = await Promise.all(trees.map((tree) => measureTree(tree.path)));
    return {
      spec,
      processes: pids.length,
      memoryBytes: await residentBytes(pids),
      diskBytes: sizes.reduce((sum, { bytes }) => sum + bytes, 0),
    };
  }

  async sendImage(session: SourceSession): Promise<void> {
    const { image } = this.deps.spec();
    const stream = await session.openStream("image", image.id);
    const { bytesSent } = await sendImage(stream, {
      openArchive: () => this.deps.engine.saveImage(image.id),
      layers: image.layers,
      presentCount: session.knownLayers ?? image.layers.length,
      signal: session.signal,
    });
    session.onBytes(bytesSent);
  }

  async presync(session: SourceSession): Promise<void> {
    const { container, freezer } = await this.running();
    const trees = await fileTrees(
      await nestedPaths(container),
      this.deps.spec().mounts,
      session.keptMounts,
    );
    this.files = createFileSync(trees, session, () => freezer.pids());
    await this.files.live();
  }

  async ready(session: SourceSession): Promise<void> {
    const { container, freezer } = await this.running();
    this.freezer = freezer;
    this.pid = container.State.Pid;
    const [pages, files, relay] = await Promise.all([
      session.openStream("pages", ""),
      session.openStream("files", ""),
      session.openStream("relay", ""),
      this.files?.prepareFinal(),
    ]);
    this.relayStream = relay;
    this.prepared = await prepareDump({
      containerId: container.Id,
      directory: this.dumpDirectory(),
      pages,
      files,
      timeoutMs: dumpTimeoutMs,
      beforeSend: () => this.deps.faults.at("source.do.send"),
      onBytes: session.onBytes,
    });
    await this.deps.hold().closeDoor();
    await untilConnected(container.State.Pid, session.signal);
  }

  async freeze(): Promise<void> {
    const { pid } = this;
    if (pid === undefined) throw new TypeError("freeze before ready");
    await this.deps.hold().engage();
    await untilRead(() => queuedDatagramBytes(pid));
    await this.ofFreezer().freeze();
  }

  async dump(session: SourceSession): Promise<Dumped> {
    const { prepared, files } = this;
    if (prepared === undefined || files === undefined) throw new TypeError("dump before ready");
    const timed = async <T>(step: string, work: Promise<T>): Promise<T> => {
      const startedMs = performance.now();
      const result = await work;
      session.onTiming(step, performance.now() - startedMs);
      return result;
    };
    // What comes here by way of the destination it knows better than we: it has its own way to it.
    const peerName = session.peerName();
    const ownWay = peerName === undefined ? undefined : this.deps.inletMark(peerName);
    // A failed file pass must wait for the dump to end, or the thaw would come in the middle of it.
    const [dumped, flows, synced, muted] = await Promise.allSettled([
      timed("dump.criu", prepared.run()),
      timed("dump.flows", listFlows(this.deps.spec().network.address, ownWay)),
      timed("dump.files", files.final()),
      // Done long before CRIU looks at the first socket: runc alone takes longer to start.
      timed("dump.mute", this.deps.hold().mute()),
    ]);
    for (const outcome of [dumped, flows, synced, muted]) {
      if (outcome.status === "rejected") throw outcome.reason;
    }
    if (dumped.status !== "fulfilled" || flows.status !== "fulfilled") {
      throw new TypeError("unreachable");
    }
    return { digest: dumped.value.digest, flows: flows.value };
  }

  async thaw(): Promise<void> {
    const container = await this.deps.service.inspect();
    if (container?.State.Running === true) {
      const freezer = this.freezer ?? (await freezerOf(container.State.Pid));
      await freezer.thaw();
    } else if (container !== undefined && this.deps.service.state() === "absent") {
      // Nobody has seen it run since the outer container was restarted: it starts as any other
      // would. One that ended by itself is "exited", and stays so.
      await this.deps.service.start();
    }
    await this.deps.hold().release();
    this.relayStream?.destroy();
    await this.cleanUp();
  }

  async relay(): Promise<void> {
    // A restart of the outer container made its network anew.
    await this.deps.hold().engage();
    this.deps.relays.start(undefined);
  }

  async depart(): Promise<void> {
    const { service } = this.deps;
    this.deps.relays.start(this.relayStream);
    this.relayStream = undefined;
    const departure = service.planDeparture();
    const container = await service.inspect();
    if (container?.State.Running === true) {
      await (await freezerOf(container.State.Pid)).killFrozen();
    }
    departure.complete();
    await service.remove();
    await this.cleanUp();
  }

  private async cleanUp(): Promise<void> {
    await Promise.all([this.prepared?.close(), this.files?.close()]);
    // Memory pages of a dump that an earlier supervisor made: nobody else knows of them.
    await removeDump(this.dumpDirectory());
    this.prepared = undefined;
    this.files = undefined;
    this.relayStream = undefined;
    this.freezer = undefined;
  }

  private dumpDirectory(): string {
    return join(this.deps.runDir, "dump");
  }

  private ofFreezer(): Freezer {
    if (this.freezer === undefined) throw new TypeError("freeze before ready");
    return this.freezer;
  }

  /** @throws ERR_SERVICE_NOT_RUNNING */
  private async running() {
    const container = await this.deps.service.inspect();
    if (container === undefined || !container.State.Running) {
      throw new UmsError("ERR_SERVICE_NOT_RUNNING", "the service does not run here");
    }
    return { container, freezer: await freezerOf(container.State.Pid) };
  }
}
