/** Container level, the end that receives the service. */
import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import type { Duplex } from "node:stream";
import { type CheckpointReceiver, createCheckpointReceiver } from "../../checkpoint/receive.js";
import { grantsOf } from "../../checkpoint/vet/grants.js";
import { restoreLog } from "../../criu/files.js";
import { watched } from "../../criu/watchdog.js";
import type { Engine } from "../../dockerd/engine.js";
import { UmsError } from "../../errors.js";
import { poll } from "../../lib/deadline.js";
import { type Deferred, deferred } from "../../lib/deferred.js";
import type { Logger } from "../../lib/log.js";
import { type NestedPaths, nestedPaths } from "../../nested/paths.js";
import type { NestedService } from "../../nested/service.js";
import type { Hold } from "../../network/hold.js";
import type { Inlet } from "../../network/inlet.js";
import { readBundle } from "../../oci/bundle.js";
import { freezerIn } from "../../oci/freezer.js";
import {
  createPendingRestore,
  openPendingRestore,
  type PendingRestore,
} from "../../oci/pending-restore.js";
import type { Facts, Flow, MountSpec, ServiceSpec } from "../../spec.js";
import { presentLayers, receiveImage } from "../../sync/image-layers.js";
import { freeBytes } from "../../sync/measure.js";
import { createTreeReceiver, flushTree, type TreeReceiver } from "../../sync/rsync-receiver.js";
import type { FileTree } from "../../sync/tree.js";
import {
  type AdmittedDeparture,
  type DestinationSide,
  dumpTimeoutMs,
  type StreamKind,
} from "../contract.js";
import { availableBytes } from "./memory.js";
import { remountOverlay } from "./remount.js";
import { requireEmpty, requireGranted, requireRoom } from "./room.js";
import { fileTrees } from "./trees.js";
import { restoreError, untilWithdrawn } from "./withdraw.js";

export interface ServiceDataPlane {
  hold: Hold;
  /** The tunnel's end for what the peer relays; the same one as long as it is not closed. */
  openInlet(peerName: string): Promise<Inlet>;
  closeInlet(peerName: string): Promise<void>;
}

export interface ContainerDestinationDeps {
  service: NestedService;
  engine: Engine;
  facts: Facts;
  /** Makes the service's network on this side, once its address is known. */
  openDataPlane(spec: ServiceSpec): Promise<ServiceDataPlane>;
  /** The one there is; undefined before the first. */
  dataPlane(): ServiceDataPlane | undefined;
  /** What the orchestrator mounted into this outer container. */
  ownMounts: readonly MountSpec[];
  /** Capabilities beyond the engine's default set that a service may have here. */
  grantedCapabilities: readonly string[];
  /** Whether data at the mounts may be replaced: they are this service's own from an earlier stay. */
  isReturning(serviceId: string): Promise<boolean>;
  /** Keeps the spec as the service will live here. */
  store(spec: ServiceSpec): Promise<void>;
  /** Private directory on tmpfs. */
  runDir: string;
  log: Logger;
}

const passTimeoutMs = 6 * 3_600_000;
const gateTimeoutMs = 60_000;
const flushTimeoutMs = 10 * 60_000;
/** Of a restore of nothing, and what a slow machine restores of memory in a millisecond beyond it. */
const restoreTimeoutMs = 30_000;
const restoreBytesPerMs = 32 * 1024;
const aliveTimeoutMs = 5_000;
/** Beyond the pages: tmpfs contents, ghost files. */
const maxFilesBytes = 8 * 1024 ** 3;
const overheadBytes = 64 * 1024 ** 2;

export function createContainerDestination(deps: ContainerDestinationDeps): DestinationSide {
  return new ContainerDestination(deps);
}

class ContainerDestination implements DestinationSide {
  private spec: ServiceSpec | undefined;
  private maxPagesBytes: number | undefined;
  private paths: NestedPaths | undefined;
  private pending: PendingRestore | undefined;
  private checkpoint: CheckpointReceiver | undefined;
  /** Who relays in the migration under way, and the tunnel's end for it. */
  private relaying: { source: string; inlet: Promise<Inlet> } | undefined;
  private started: Promise<void> | undefined;
  /** The clean-up of the last arrival. Never rejects. */
  private settling: Promise<void> = Promise.resolve();
  /** The load of the image, which outlasts the source's sending; undefined: it was here. */
  private image: Deferred<void> | undefined;
  private trees = new Map<string, { tree: FileTree; receiver: TreeReceiver }>();
  private checkpointBytes = 0;

  constructor(private readonly deps: ContainerDestinationDeps) {}

  facts(): Promise<Facts> {
    return Promise.resolve(this.deps.facts);
  }

  async reserve({ spec, memoryBytes, diskBytes, maxMemoryBytes }: AdmittedDeparture) {
    await this.settling;
    const { engine } = this.deps;
    const { dataRoot } = await engine.info();
    // The pages and, from the restore on, the process beside them.
    requireRoom("memory", 2 * memoryBytes + overheadBytes, await availableBytes());
    requireRoom(`disk at ${dataRoot}`, diskBytes + overheadBytes, await freeBytes(dataRoot));
    requireGranted(spec.security.addCapabilities, this.deps.grantedCapabilities);
    const mounts = spec.mounts.map((mount) => this.placeMount(mount));
    if (!(await this.deps.isReturning(spec.serviceId))) await requireEmpty(mounts);
    this.spec = { ...spec, mounts };
    this.maxPagesBytes = maxMemoryBytes;
    const image = await engine.inspectImage(spec.image.id);
    const knownLayers = presentLayers(spec.image.layers, await engine.listImageLayers());
    this.image = image === undefined ? deferred() : undefined;
    // Awaited in provision(), which a source that fails before never calls.
    this.image?.promise.catch(() => undefined);
    return { hasImage: image !== undefined, knownLayers };
  }

  async provision() {
    const spec = this.needSpec();
    const { service, runDir } = this.deps;
    await this.image?.promise;
    await this.deps.openDataPlane(spec);
    const containerId = await service.create(spec);
    // A supervisor that is restarted between PREPARED and the thaw must know what it received.
    await this.deps.store(spec);
    const container = await service.inspect();
    if (container === undefined) throw new TypeError("the container just made is gone");
    this.paths = await nestedPaths(container);
    const keptMounts = this.paths.mounts
      .filter(({ readOnly }) => readOnly)
      .map(({ destination }) => destination)
      .filter((destination) => this.ownMount(destination) !== undefined);
    await mkdir(runDir, { recursive: true, mode: 0o700 });
    for (const tree of await fileTrees(this.paths, spec.mounts, keptMounts)) {
      const options = { runDirectory: runDir, timeoutMs: passTimeoutMs };
      this.trees.set(tree.name, { tree, receiver: createTreeReceiver(tree, options) });
    }
    return { containerId, keptMounts };
  }

  async arm(): Promise<void> {
    if (this.pending !== undefined) return;
    const container = await this.deps.service.inspect();
    if (container === undefined) throw new TypeError("armed before it was provisioned");
    this.pending = await createPendingRestore(container.Id);
    const { imagesDir, workDir } = this.pending;
    // The bulk of the files, now; what the final pass brings is flushed beside the restore.
    await this.flush();
    this.started = this.deps.service.start();
    // Awaited in restore(); until then its failure must not end the process.
    this.started.catch(() => undefined);
    await Promise.race([this.pending.waiting(gateTimeoutMs), this.started]);
    const config = await readBundle(await this.pending.bundle());
    this.checkpoint = createCheckpointReceiver({
      imagesDir,
      workDir,
      maxFilesBytes,
      maxPagesBytes: this.maxPagesBytes,
      dumpTimeoutMs,
      grants: grantsOf(config, this.deps.facts.architecture),
    });
  }

  async accept(kind: StreamKind, name: string, stream: Duplex, source: string): Promise<void> {
    await this.take(kind, name, stream, source);
    // Our direction too, or it would stay in CLOSE-WAIT for as long as the supervisor lives.
    stream.resume();
    if (stream.writable) stream.end();
  }

  private take(kind: StreamKind, name: string, stream: Duplex, source: string): Promise<void> {
    switch (kind) {
      case "image":
        return this.acceptImage(stream);
      case "sync":
        return this.tree(name).receive(stream);
      case "pages":
        return this.armed().acceptPages(stream);
      case "files":
        return this.armed().acceptFiles(stream);
      case "relay":
        return this.acceptRelay(stream, source);
    }
  }

  async verified(): Promise<string> {
    const { digest, files } = await this.armed().manifest();
    this.checkpointBytes = files.reduce((sum, { bytes }) => sum + bytes, 0);
    return digest;
  }

  async restore(flows: Flow[]): Promise<void> {
    const { pending, started, paths } = this;
    if (pending === undefined || started === undefined || paths === undefined) {
      throw new TypeError("restore before arm");
    }
    await (await this.relaying?.inlet)?.setFlows(flows);
    await remountOverlay(paths.upperDir);
    await this.openGate(pending);
    try {
      const timeoutMs = restoreTimeoutMs + this.checkpointBytes / restoreBytesPerMs;
      const { workDir } = pending;
      await watched({ what: "the restore", workDir, timeoutMs }, started);
      await this.flush();
    } catch (cause) {
      await pending.kill();
      throw await restoreError(join(pending.workDir, restoreLog), cause);
    }
  }

  async isHeld(): Promise<boolean> {
    const freezer = await this.frozen();
    if (freezer === undefined) return false;
    return (await freezer.pids()).length > 0 && (await freezer.isFrozen());
  }

  async thaw(): Promise<void> {
    this.pending ??= await this.pendingFromCold();
    const freezer = await this.frozen();
    // A hold of an earlier stay here: what it queued is for the service that comes to life now.
    await this.deps.dataPlane()?.hold.release();
    await freezer?.thaw();
    if (freezer === undefined && this.deps.service.state() !== "running") {
      // The outer container was restarted after OWNER: the service starts as any other would. One
      // that runs was thawed by an earlier supervisor, which died before it could record that.
      await this.deps.service.start();
    }
    // One that ends as soon as it runs has ended here: its life, and its exit code, are ours.
    // The source waits for our word while its clients wait: what is left is tidied up meanwhile.
    this.settling = this.settle().catch((error) =>
      this.deps.log.warn({ err: error }, "what the migration needed could not be deleted"),
    );
  }

  async discard(): Promise<void> {
    const { service } = this.deps;
    const pending = this.pending ?? (await this.withdrawFromCold());
    this.checkpoint?.close();
    await Promise.all([...this.trees.values()].map(({ receiver }) => receiver.close()));
    // First of all: what the kernel says as the restored sockets close must not reach the clients,
    // whose connections live on at the source.
    if (this.relaying !== undefined) {
      await this.deps.dataPlane()?.closeInlet(this.relaying.source);
    }
    const departure = service.planDeparture();
    await pending?.answer("refuse");
    await pending?.kill();
    await (await this.frozen())?.killFrozen();
    // It fails because it was refused, which is what was wanted.
    if (this.started !== undefined) {
      await untilWithdrawn(
        this.started.catch(() => undefined),
        aliveTimeoutMs,
      );
    }
    departure.complete();
    // Whatever is left over must not be taken for the next arrival's.
    this.reset();
    await service.remove();
    await pending?.remove();
    await this.sweep();
  }

  /** The service runs: the checkpoint is no longer needed. */
  private async settle(): Promise<void> {
    const { trees, pending } = this;
    this.reset();
    await Promise.all([...trees.values()].map(({ receiver }) => receiver.close()));
    await pending?.remove();
    await this.sweep();
  }

  /** What receivers of an earlier supervisor left: each closes its own only while it lives. */
  private async sweep(): Promise<void> {
    await rm(this.deps.runDir, { recursive: true, force: true });
  }

  private reset(): void {
    this.pending = undefined;
    this.checkpoint = undefined;
    this.started = undefined;
    this.relaying = undefined;
    this.trees = new Map();
  }

  private async acceptImage(stream: Duplex): Promise<void> {
    const { engine } = this.deps;
    const loading = receiveImage(stream, this.needSpec().image.id, {
      load: async (archive) => void (await engine.loadImage(archive)),
      hasImage: async (id) => (await engine.inspectImage(id)) !== undefined,
    });
    loading.then(this.image?.resolve, this.image?.reject);
    await loading;
  }

  /** In a migration before its freeze, and again whenever the source had to connect anew. */
  private async acceptRelay(stream: Duplex, source: string): Promise<void> {
    const plane = this.deps.dataPlane();
    if (plane === undefined) throw new UmsError("ERR_FRAME_INVALID", "a relay without a service");
    const inlet = plane.openInlet(source);
    if (this.pending !== undefined) this.relaying = { source, inlet };
    await (await inlet).attach(stream).ended;
  }

  private tree(name: string): TreeReceiver {
    const found = this.trees.get(name.replace(/^sync\//, ""));
    if (found === undefined) throw new UmsError("ERR_FRAME_INVALID", `no tree "${name}" here`);
    return found.receiver;
  }

  /** What the service had on disk must be on disk here before the source's copy is destroyed. */
  private async flush(): Promise<void> {
    const flushes = [...this.trees.values()].map(({ tree }) => flushTree(tree, flushTimeoutMs));
    await Promise.all(flushes);
  }

  private armed(): CheckpointReceiver {
    if (this.checkpoint === undefined) {
      throw new UmsError("ERR_FRAME_INVALID", "checkpoint data before the destination was armed");
    }
    return this.checkpoint;
  }

  private async frozen() {
    const pending = this.pending ?? (await this.pendingFromCold());
    const directory = await pending?.frozenCgroup();
    return directory === undefined ? undefined : freezerIn(directory);
  }

  private async pendingFromCold(): Promise<PendingRestore | undefined> {
    const container = await this.deps.service.inspect();
    return container === undefined ? undefined : openPendingRestore(container.Id);
  }

  /**
   * A runtime that an earlier supervisor has left at the gate: the engine holds the container's lock
   * while it starts it, and answers no question about it, so the gate comes first (measured: the
   * question took as long as the gate's hour). The runtime may also come to the gate only later.
   */
  private async withdrawFromCold(): Promise<PendingRestore | undefined> {
    return untilWithdrawn(this.pendingFromCold(), gateTimeoutMs);
  }

  /** The runtime says that it waits just before it opens its end of the gate. */
  private async openGate(pending: PendingRestore): Promise<void> {
    const opened = () => pending.answer("restore");
    try {
      await poll("opening the restore gate", opened, { timeoutMs: aliveTimeoutMs, intervalMs: 5 });
    } catch (cause) {
      const message = "the runtime left the restore gate";
      throw new UmsError("ERR_CRIU_RESTORE_FAILED", message, { cause });
    }
  }

  private needSpec(): ServiceSpec {
    if (this.spec === undefined) throw new TypeError("nothing is reserved");
    return this.spec;
  }

  /** A mount of the source's orchestrator that this one did not give becomes an inner volume. */
  private placeMount(mount: MountSpec): MountSpec {
    const own = this.ownMount(mount.destination);
    return own === undefined ? { ...mount, origin: "volume" } : { ...mount, origin: "outer" };
  }

  private ownMount(destination: string): MountSpec | undefined {
    return this.deps.ownMounts.find((mount) => mount.destination === destination);
  }
}
