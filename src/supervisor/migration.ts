/**
 * Puts the migration together: journal, both halves of the switch-over, servers for peers and
 * operators. The rest of the supervisor sees the service come and go through `onOwned` and the
 * nested service's planned departure.
 */
import { join } from "node:path";
import { createContainerDestination } from "../approach/container/destination.js";
import { probeFacts } from "../approach/container/facts.js";
import { createContainerSource } from "../approach/container/source.js";
import type { SourceSide } from "../approach/contract.js";
import type { Config } from "../config.js";
import type { Engine } from "../dockerd/engine.js";
import { UmsError } from "../errors.js";
import type { PlaceBoard } from "../frontman/place.js";
import type { Faults } from "../lib/faults.js";
import type { Logger } from "../lib/log.js";
import { matcherOf } from "../lib/patterns.js";
import { umsVersion } from "../lib/version.js";
import type { DestinationRunner } from "../migration/destination-role.js";
import { createDestinationRunner } from "../migration/destination-runner.js";
import { createDoubtOrders } from "../migration/doubt.js";
import type { Journal } from "../migration/journal.js";
import { createSourceRunner, type SourceRunner } from "../migration/source-runner.js";
import { initialSource, isCommitted, type SourceState } from "../migration/source-state.js";
import type { ServiceStatus, TrafficStatus } from "../migration/view.js";
import type { NestedService } from "../nested/service.js";
import { removePendingRestores } from "../oci/pending-restore.js";
import type { IdentityStore } from "../peer/identity.js";
import type { Facts, MountSpec, ServiceSpec } from "../spec.js";
import { type Announcer, arrivalIn } from "./announce.js";
import { type Authorisation, openAuthorisation } from "./authorisation.js";
import { openIdentityIfThere, ownAddresses, withCertificates } from "./certificates.js";
import type { DataPlane } from "./data-plane.js";
import { describeHere } from "./here.js";
import { openInterface } from "./migration-interface.js";
import type { Ownership } from "./ownership.js";
import { createPeerLinks, type PeerLinks } from "./peer-link.js";
import { placeOf } from "./place.js";
import { prepareStop } from "./prepare-stop.js";
import { createRelaying, type Relaying } from "./relaying.js";
import type { SpecStore } from "./spec-store.js";
import { describeStatus } from "./status.js";

export interface MigrationDeps {
  config: Config;
  log: Logger;
  journal: Journal;
  ownership: Ownership;
  service: NestedService;
  engine: Engine;
  plane: DataPlane;
  store: SpecStore;
  /** Mounts the orchestrator gave this outer container. */
  ownMounts: readonly MountSpec[];
  runDir: string;
  faults: Faults;
  announcer: Announcer;
  /** Is told where the service is. */
  board: PlaceBoard;
  /** Why the Frontman goes on after the service has left; undefined: it does not, or is here. */
  whyFronting(): string | undefined;
  /** A service has arrived and runs. */
  onArrived(spec: ServiceSpec): Promise<void>;
  /** The service has left and runs elsewhere. */
  onDeparted(): Promise<void>;
}

export interface Migration {
  /** True from COMMITTED on: this outer container must stay although its service has gone. */
  hasLeft(): boolean;
  /** Why nothing can be served now: the service is frozen, here or on arrival. Else undefined. */
  frozenReason(): string | undefined;
  /** Name of the service that is or was here; empty while there was none. */
  serviceName(): string;
  status(): ServiceStatus;
  traffic(): Promise<TrafficStatus>;
  /**
   * Before the service is asked to stop: a migration that is not committed is aborted and the
   * service thawed; one that is committed is given `timeoutMs` to be confirmed.
   */
  prepareStop(timeoutMs: number): Promise<void>;
  close(): Promise<void>;
}

export async function openMigration(deps: MigrationDeps): Promise<Migration> {
  const facts = { ...(await probeFacts(umsVersion())), ...(await deps.faults.pretend("facts")) };
  const identity = openIdentityIfThere(deps.config, deps.log);
  const authorisation =
    identity === undefined ? undefined : await openAuthorisation(deps.config, identity);
  const opened = new OpenMigration(deps, facts, identity, authorisation);
  await opened.start();
  return opened;
}

class OpenMigration implements Migration {
  private source: SourceRunner | undefined;
  private sourceSide: SourceSide | undefined;
  private destination!: DestinationRunner;
  private spec: ServiceSpec | undefined;
  private askError: string | undefined;
  private servers: { close(): Promise<void> }[] = [];
  private readonly links: PeerLinks | undefined;
  private readonly relaying: Relaying;

  constructor(
    private readonly deps: MigrationDeps,
    private readonly facts: Facts,
    private readonly identity: IdentityStore | undefined,
    private readonly authorisation: Authorisation | undefined,
  ) {
    const { log, plane } = deps;
    this.relaying = createRelaying({
      hold: () => plane.hold(),
      queue: () => plane.queue(),
      open: () => this.openRelay(),
      resetAtPeer: () => this.resetAtPeer(),
      serviceAddress: () => this.spec?.network.address,
      hasLeft: () => this.source?.state.phase === "RETIRED",
      stateDir: deps.config.UMS_STATE_DIR,
      log,
    });
    if (identity === undefined) return;
    const onUnreachable = (error: unknown) => {
      this.askError = UmsError.from(error).message;
      log.debug({ err: error }, "the source cannot be asked");
    };
    this.links = createPeerLinks(identity, ownAddresses, onUnreachable, deps.faults);
  }

  async start(): Promise<void> {
    const { deps, facts } = this;
    const { journal, ownership, service, engine, plane, log } = deps;
    this.spec = (await deps.store.read())?.spec;
    this.destination = createDestinationRunner(
      {
        journal,
        log,
        faults: deps.faults,
        admit: async (arrival) => withCertificates(this.authorisation).admit(arrival),
        side: createContainerDestination({
          service,
          engine,
          facts,
          openDataPlane: (spec) => plane.open(spec),
          dataPlane: () => plane.current(),
          ownMounts: deps.ownMounts,
          grantedCapabilities: deps.config.UMS_CAP_ADD,
          isReturning: async (serviceId) => (await deps.store.read())?.spec.serviceId === serviceId,
          store: (spec) => this.keep(spec),
          runDir: join(deps.runDir, "receive"),
          log,
        }),
        isOccupied: () => this.source !== undefined && this.source.state.phase !== "RETIRED",
        onOwned: (epoch) => this.own(epoch),
        askSource: async (source, ref) => this.links?.ask(source, ref),
      },
      ownership.destination,
    );
    if (ownership.source !== undefined) {
      this.source = this.createSource(ownership.source);
      if (journal.last === undefined) {
        await journal.append({ role: "source", state: ownership.source });
      }
    }
    // First, so that no call meets a side that does not yet know what it owns.
    await this.recover();
    this.announce();
    this.announcePlace(this.source?.state.phase);
    await this.listen();
  }

  hasLeft(): boolean {
    const phase = this.source?.state.phase;
    return phase === "COMMITTED" || phase === "DONE" || phase === "RETIRED";
  }

  frozenReason(): string | undefined {
    const phase = this.source?.state.phase;
    if (this.deps.board.current().state === "moving") {
      return `${phase}: the service is frozen for its move to ${this.source?.destination?.address}`;
    }
    const arriving = this.destination.state.phase;
    const isArriving = arriving === "PREPARED" || arriving === "OWNER";
    return isArriving ? `${arriving}: the service has arrived and is frozen` : undefined;
  }

  serviceName(): string {
    return this.spec?.name ?? "";
  }

  prepareStop(timeoutMs: number): Promise<void> {
    const { source, destination } = this;
    return prepareStop({ source, destination, log: this.deps.log }, timeoutMs);
  }

  async close(): Promise<void> {
    this.source?.close();
    this.destination.close();
    this.relaying.close();
    await Promise.all(this.servers.map((server) => server.close()));
    await this.deps.journal.close();
  }

  private createSource(state: SourceState): SourceRunner {
    const { service, engine, plane, log, journal, config, runDir, faults } = this.deps;
    const side = createContainerSource({
      service,
      engine,
      facts: this.facts,
      log,
      faults,
      runDir: join(runDir, "send"),
      hold: () => plane.hold(),
      inletMark: (peerName) => plane.inletMark(peerName),
      spec: () => this.needSpec(),
      relays: this.relaying.keeper,
    });
    this.sourceSide = side;
    return createSourceRunner(
      {
        journal,
        log,
        side,
        faults,
        ownPeerPort: config.UMS_PEER_PORT,
        connect: (destination) => withCertificates(this.links).connect(destination),
        isDestinationAllowed: matcherOf(config.UMS_ALLOW_TO),
        onState: (next) => {
          this.announcePlace(next.phase);
          if (next.phase !== "RETIRED") return;
          this.deps.announcer.withdraw();
          this.deps.onDeparted().catch((error) => log.error({ err: error }, "mark not removed"));
        },
      },
      state,
    );
  }

  private announcePlace(phase: SourceState["phase"] | undefined): void {
    const { board, config } = this.deps;
    const destination = this.source?.destination;
    const publicEndpoint = config.UMS_PUBLIC_ENDPOINT;
    board.set(placeOf({ phase, destination, publicEndpoint }));
  }

  /** After the hand-over this side is what a source is: the owner, which may be migrated again. */
  private async own(epoch: number): Promise<void> {
    await this.relaying.forget();
    const state = initialSource(epoch);
    await this.deps.journal.append({ role: "source", state });
    this.source = this.createSource(state);
    this.announcePlace(state.phase);
    await this.deps.onArrived(this.needSpec());
    this.announce();
  }

  /** Also after a restart, for what the last supervisor had not told yet. */
  private announce(): void {
    const { source } = this;
    const arrival = arrivalIn(this.deps.journal, source?.state, this.spec);
    if (arrival === undefined || source === undefined) return;
    const isOwner = () => this.source === source && !isCommitted(source.state.phase);
    this.deps.announcer.announce(arrival, isOwner);
  }

  private async keep(spec: ServiceSpec): Promise<void> {
    this.spec = spec;
    await this.deps.store.write({ spec, origin: "received" });
  }

  private async recover(): Promise<void> {
    const { journal, plane } = this.deps;
    const { last } = journal;
    const { phase } = this.destination.state;
    // A supervisor that died before it had tidied up. In the other states the recovery does it.
    if (phase === "PASSIVE" || phase === "RUNNING") await removePendingRestores();
    const hasLeft = this.source?.state.phase === "RETIRED";
    if (this.spec !== undefined && (hasLeft || this.deps.ownership.mayRun !== "none")) {
      await plane.open(this.spec);
    }
    // A source that has left relays, whatever it has been the destination of since.
    if (last?.role === "source" || hasLeft) await this.source?.recover();
    if (hasLeft && (await this.relaying.resume())) await this.sourceSide?.relay();
    if (last?.role === "destination") await this.destination.recover();
  }

  private async listen(): Promise<void> {
    const { config, log, journal, plane } = this.deps;
    const { destination, identity, authorisation } = this;
    const doubt = createDoubtOrders({
      source: () => this.needSource(),
      destination,
      journal,
      identity: () => withCertificates(this.identity).current(),
      serviceId: () => this.spec?.serviceId,
      log,
    });
    this.servers = await openInterface({
      config,
      log,
      journal,
      destination,
      operator: {
        source: () => this.needSource(),
        doubt,
        isOurs: (name) => this.isOurs(name),
        drainRelay: (options) => this.relaying.drain(options),
        status: () => this.status(),
        traffic: () => this.traffic(),
        facts: () => {
          const { facts, sourceSide: side } = this;
          const peerName = identity?.current().self.name ?? "";
          return describeHere({ facts, side, peerName, service: this.deps.service });
        },
        issueToken: async (order) => withCertificates(this.authorisation).issueToken(order),
      },
      resetFlows: (peerName) => plane.resetFlows(peerName),
      network:
        identity === undefined || authorisation === undefined
          ? undefined
          : { identity, authorisation },
    });
  }

  status(): ServiceStatus {
    const { service, plane, journal } = this.deps;
    return describeStatus({
      journal,
      self: this.identity?.current().self.name,
      askError: this.askError,
      spec: this.spec,
      source: this.source,
      destination: this.destination.state,
      service,
      relayed: plane.relayed(),
      announced: this.deps.announcer.states(),
      whyFronting: this.deps.whyFronting(),
    });
  }

  traffic(): Promise<TrafficStatus> {
    return this.relaying.traffic();
  }

  private openRelay() {
    const { destination, ref } = this.departure();
    return withCertificates(this.links).openRelay(destination, ref);
  }

  private departure() {
    const { state, destination } = this.needSource();
    const { migrationId, issuedEpoch } = state;
    if (migrationId === undefined || destination === undefined) {
      throw new TypeError("a relay for a service that never left");
    }
    return { destination, ref: { migrationId, epoch: issuedEpoch } };
  }

  private async resetAtPeer(): Promise<number> {
    const { destination, ref } = this.departure();
    const link = await withCertificates(this.links).connect(destination);
    try {
      return await link.peer.resetFlows(ref);
    } finally {
      link.close();
    }
  }

  private isOurs(name: string): boolean {
    return name === this.spec?.name || name === this.spec?.serviceId;
  }

  private needSpec(): ServiceSpec {
    if (this.spec === undefined) throw new UmsError("ERR_SERVICE_NOT_FOUND", "no service is here");
    return this.spec;
  }

  private needSource(): SourceRunner {
    if (this.source === undefined) {
      throw new UmsError(
        "ERR_SERVICE_NOT_FOUND",
        "this outer container stands by: no service here",
      );
    }
    return this.source;
  }
}
