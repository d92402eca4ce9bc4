/**
 * Fake outer containers: real gRPC servers with the installation's certificates, whose Migration
 * service moves nothing but a name. `FakeWorld` knows them by address, as a network would.
 */
import type { ServerWritableStream, ServiceError } from "@grpc/grpc-js";
import { UmsError } from "../../src/errors.js";
import type {
  MigrateEvent,
  MigrateRequest,
  MigrationServer,
} from "../../src/gen/ums/migration/v1/migration.js";
import { type GrpcServer, listenNetwork } from "../../src/grpc/server.js";
import { type Deferred, deferred } from "../../src/lib/deferred.js";
import { toServiceError } from "../../src/peer/grpc-status.js";
import type { IdentitySource } from "../../src/transfer/security.js";
import { fakeFacts } from "./fake-sides.js";
import { freePort } from "./free-port.js";

/** What a migration from a fake outer container does. */
export type FakeCourse = "moves" | "fails" | "pauses";

export class FakeWorld {
  readonly outers = new Map<string, FakeOuter>();

  constructor(readonly identity: IdentitySource) {}

  async start(options: { name: string; hasService: boolean }): Promise<FakeOuter> {
    const port = await freePort();
    const outer = new FakeOuter(this, options.name, `127.0.0.1:${port}`, port);
    if (options.hasService) outer.receive("service-1");
    await outer.open();
    this.outers.set(outer.address, outer);
    return outer;
  }

  async close(): Promise<void> {
    await Promise.all([...this.outers.values()].map((outer) => outer.close()));
  }

  /** Names of those in which the service runs. */
  running(): string[] {
    return [...this.outers.values()]
      .filter(({ here }) => here === "running")
      .map(({ name }) => name);
  }
}

export class FakeOuter {
  state = "PASSIVE";
  here: "running" | "frozen" | "none" = "none";
  serviceId = "";
  migrationId = "";
  peer = "";
  peerName: string;
  course: FakeCourse = "moves";
  facts = fakeFacts;
  /** Orders to migrate that it has got. */
  orders: MigrateRequest[] = [];
  /** Relayed conversations, as DrainRelay tells them. */
  flows = 0;
  drains = 0;
  private server: GrpcServer | undefined;
  private gate: Deferred<"go" | "cancel"> = deferred();

  constructor(
    private readonly world: FakeWorld,
    readonly name: string,
    readonly address: string,
    readonly port: number,
  ) {
    this.peerName = `peer-of-${name.replace("/", "-")}`;
  }

  async open(): Promise<void> {
    const address = { host: "127.0.0.1", port: this.port };
    const identity = this.world.identity();
    // Whoever has a certificate of the installation: roles are not what these tests are about.
    const authenticate = () => ({ role: "operator" as const, name: "any", thumbprint: "" });
    const rules = { authenticate, isOperatorAllowed: () => true };
    this.server = await listenNetwork(address, identity, { migration: this.service() }, rules);
  }

  async close(): Promise<void> {
    await this.server?.close();
    this.server = undefined;
  }

  receive(serviceId: string): void {
    this.state = "ACTIVE";
    this.here = "running";
    this.serviceId = serviceId;
  }

  /** Lets a migration that pauses go on. */
  go(): void {
    this.gate.resolve("go");
  }

  private service(): MigrationServer {
    return {
      getStatus: (_, done) => done(null, this.status()),
      getFacts: (_, done) =>
        done(null, {
          facts: this.facts,
          peerName: this.peerName,
          memoryBytes: 100n * 1024n * 1024n,
          diskBytes: 0n,
          processes: 1,
          obstacle: undefined,
        }),
      migrate: (call) => {
        this.migrate(call).then(
          () => call.end(),
          (thrown) => call.emit("error", toServiceError(thrown)),
        );
      },
      cancel: ({ request }, done) => {
        this.gate.resolve("cancel");
        done(null, { migrationId: request.migrationId });
      },
      issueToken: refuse,
      rollback: refuse,
      takeover: refuse,
      exportCommit: refuse,
      importCommit: refuse,
      drainRelay: (_, done) => {
        this.drains += 1;
        const flows = this.flows;
        this.flows = 0;
        done(null, { flows, resets: 0 });
      },
    };
  }

  private status() {
    const { name, serviceId, state, migrationId, peer, here } = this;
    return {
      name,
      serviceId,
      image: "redis:7",
      state,
      epoch: 1n,
      migrationId,
      peer,
      here,
      explanation: `a fake that is ${state}`,
      relayedPackets: 0n,
      relayedBytes: 0n,
      self: this.peerName,
      peerName: "",
      owner: here === "running" ? "here" : "peer",
      since: "",
      lastError: "",
      next: "",
      inDoubt: false,
      fence: "",
      relayPhase: "none",
      relayedFlows: 0,
      queuePackets: 0,
      droppedPackets: 0n,
    };
  }

  private async migrate(call: ServerWritableStream<MigrateRequest, MigrateEvent>): Promise<void> {
    if (this.state !== "ACTIVE") {
      throw new UmsError("ERR_MIGRATION_IN_PROGRESS", `a migration is under way (${this.state})`);
    }
    this.orders.push(call.request);
    this.gate = deferred();
    this.migrationId = `supervisor-${this.name}-${this.orders.length}`;
    this.peer = call.request.destination;
    this.state = "PRECOPY";
    const { migrationId } = this;
    const progress = {
      migrationId,
      phase: "PRECOPY",
      bytesSent: 5n,
      bytesTotal: 10n,
      elapsedMs: 1n,
      doubt: "",
    };
    call.write({ event: { $case: "progress", value: progress } });
    const word = this.course === "pauses" ? await this.gate.promise : "go";
    const hasMoved = this.course !== "fails" && word === "go" && this.handOver();
    if (!hasMoved) this.state = "ACTIVE";
    const failure = hasMoved
      ? undefined
      : {
          code: word === "cancel" ? "ERR_CANCELLED" : "ERR_CRIU_DUMP_FAILED",
          message: "the fake failed",
          hint: "",
          logTail: "",
          logPath: "",
        };
    call.write({
      event: {
        $case: "result",
        value: {
          migrationId,
          outcome: hasMoved ? "moved" : "aborted",
          runsOn: hasMoved ? "destination" : "source",
          endpoint: hasMoved ? this.peer : "",
          totalMs: 1_000,
          freezeMs: 400,
          bytesSent: 10n,
          timingsMs: { dump: 100 },
          failure,
        },
      },
    });
  }

  private handOver(): boolean {
    const destination = this.world.outers.get(this.peer);
    if (destination === undefined) return false;
    destination.receive(this.serviceId);
    this.state = "RETIRED";
    this.here = "none";
    return true;
  }
}

/** Not asked for by a Coordinator. */
function refuse(_: unknown, done: (error: Partial<ServiceError>) => void): void {
  done(toServiceError(new UmsError("ERR_INTERNAL", "a fake does not do that")));
}
