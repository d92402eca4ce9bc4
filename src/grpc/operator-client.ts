/** A supervisor, as an operator's tool calls it. */
import {
  type CallOptions,
  type ChannelCredentials,
  type ChannelOptions,
  credentials,
  Metadata,
  type ServiceError,
} from "@grpc/grpc-js";
import { UmsError } from "../errors.js";
import {
  type DrainRelayResponse,
  type GetFactsResponse,
  type GetStatusResponse,
  type IssueTokenRequest,
  type IssueTokenResponse,
  type MigrateEvent,
  type MigrateRequest,
  MigrationClient,
  type Progress,
  type Result,
} from "../gen/ums/migration/v1/migration.js";
import type { DoubtOutcome } from "../migration/doubt.js";
import type {
  FactsView,
  ProgressView,
  ResultView,
  ServiceStatus,
  TrafficStatus,
} from "../migration/view.js";
import { factsFromWire, failureFromWire } from "../peer/convert.js";
import { fromServiceError } from "../peer/grpc-status.js";
import type { IssuedToken, TokenOrder } from "../peer/token.js";
import type { TlsIdentity } from "../transfer/security.js";
import { serverIdentityCheck } from "../transfer/security.js";

export interface MigrateOrder {
  /** `HOST:PORT`. */
  destination: string;
  /** Name its certificate must carry; empty: any peer. */
  destinationName: string;
  /** Empty: the service there. */
  service: string;
  downtimeBudgetMs: number;
  /** Issued by the destination; left out: its allow-list decides. */
  token?: string;
}

/** Every call throws the supervisor's own error, or ERR_PEER_*, ERR_DEADLINE. */
export interface OperatorClient {
  status(): Promise<ServiceStatus & TrafficStatus>;
  facts(): Promise<FactsView>;
  /** Resolves with the outcome, a failed one too. */
  migrate(order: MigrateOrder, onProgress: (progress: ProgressView) => void): Promise<ResultView>;
  /** Empty: the migration under way. Returns its id. */
  cancel(migrationId: string): Promise<string>;
  /** Ends the relay of a service that has left; see DrainRelay. */
  drainRelay(order: { deadlineMs: number; reset: boolean }): Promise<DrainRelayResponse>;
  /** Leave for one source to migrate to that outer container. */
  issueToken(order: TokenOrder): Promise<IssuedToken>;
  rollBack(isFenced: boolean): Promise<DoubtOutcome>;
  takeOver(isFenced: boolean): Promise<DoubtOutcome>;
  /** The source's decision, signed. */
  exportCommit(): Promise<string>;
  importCommit(certificate: string): Promise<DoubtOutcome>;
  close(): void;
}

const callTimeoutMs = 10_000;
/** The other side is asked once more, then the service is thawed. */
const doubtTimeoutMs = 30_000;

/** @param path the supervisor's unix socket */
export function connectLocal(path: string): OperatorClient {
  return connect(`unix:${path}`, credentials.createInsecure());
}

/** @param address `ip:port`, already resolved */
export function connectRemote(address: string, identity: TlsIdentity): OperatorClient {
  const { ca, cert, key } = identity;
  return connect(
    address,
    credentials.createSsl(Buffer.from(ca), Buffer.from(key), Buffer.from(cert), {
      checkServerIdentity: serverIdentityCheck(identity, undefined) as never,
    }),
    // An IP address may not stand in the TLS server name (RFC 6066).
    { "grpc.ssl_target_name_override": "ums-peer" },
  );
}

function connect(
  address: string,
  channel: ChannelCredentials,
  options: ChannelOptions = {},
): OperatorClient {
  const client = new MigrationClient(address, channel, options);
  return {
    async status() {
      const answer = await unary<GetStatusResponse>("GetStatus", (...rest) =>
        client.getStatus({}, ...rest),
      );
      return statusFromWire(answer);
    },
    async facts() {
      const answer = await unary<GetFactsResponse>("GetFacts", (...rest) =>
        client.getFacts({}, ...rest),
      );
      return factsViewFromWire(answer);
    },
    migrate: (order, onProgress) => migrate(client, { token: "", ...order }, onProgress),
    async cancel(migrationId) {
      const answer = await unary<{ migrationId: string }>("Cancel", (...rest) =>
        client.cancel({ migrationId }, ...rest),
      );
      return answer.migrationId;
    },
    drainRelay: (order) =>
      unary<DrainRelayResponse>("DrainRelay", (...rest) => client.drainRelay(order, ...rest)),
    async issueToken(order) {
      const answer = await unary<IssueTokenResponse>("IssueToken", (...rest) =>
        client.issueToken(tokenOrderToWire(order), ...rest),
      );
      return { token: answer.token, expiresAt: new Date(Number(answer.expiresAtMs)) };
    },
    rollBack: (isFenced) =>
      unary<DoubtOutcome>(
        "Rollback",
        (...rest) => client.rollback({ fenced: isFenced }, ...rest),
        doubtTimeoutMs,
      ),
    takeOver: (isFenced) =>
      unary<DoubtOutcome>(
        "Takeover",
        (...rest) => client.takeover({ fenced: isFenced }, ...rest),
        doubtTimeoutMs,
      ),
    async exportCommit() {
      const { certificate } = await unary<{ certificate: string }>("ExportCommit", (...rest) =>
        client.exportCommit({}, ...rest),
      );
      return certificate;
    },
    importCommit: (certificate) =>
      unary<DoubtOutcome>(
        "ImportCommit",
        (...rest) => client.importCommit({ certificate }, ...rest),
        doubtTimeoutMs,
      ),
    close: () => client.close(),
  };
}

function unary<A>(
  name: string,
  call: (
    metadata: Metadata,
    options: Partial<CallOptions>,
    done: (error: ServiceError | null, answer: A) => void,
  ) => void,
  timeoutMs = callTimeoutMs,
): Promise<A> {
  return new Promise((resolve, reject) => {
    call(new Metadata(), { deadline: Date.now() + timeoutMs }, (error, answer) => {
      if (error === null) resolve(answer);
      else reject(fromServiceError(error, name));
    });
  });
}

function migrate(
  client: MigrationClient,
  order: MigrateRequest,
  onProgress: (progress: ProgressView) => void,
): Promise<ResultView> {
  return new Promise((resolve, reject) => {
    let result: ResultView | undefined;
    const call = client.migrate(order);
    call.on("data", ({ event }: MigrateEvent) => {
      if (event?.$case === "progress") onProgress(progressFromWire(event.value));
      if (event?.$case === "result") result = resultFromWire(event.value);
    });
    call.on("error", (error) => reject(fromServiceError(error as ServiceError, "Migrate")));
    call.on("end", () => {
      if (result !== undefined) return resolve(result);
      reject(
        new UmsError("ERR_PEER_UNREACHABLE", "the supervisor went away before the outcome", {
          hint: "the migration goes on or is undone by itself; `ums status` tells",
        }),
      );
    });
  });
}

function statusFromWire(wire: GetStatusResponse): ServiceStatus & TrafficStatus {
  const { here, owner } = wire;
  return {
    ...wire,
    here: here === "running" || here === "frozen" ? here : "none",
    owner: owner === "here" || owner === "peer" || owner === "nobody" ? owner : "undecided",
    epoch: Number(wire.epoch),
    relayedPackets: Number(wire.relayedPackets),
    relayedBytes: Number(wire.relayedBytes),
    droppedPackets: Number(wire.droppedPackets),
  };
}

function factsViewFromWire(wire: GetFactsResponse): FactsView {
  const { obstacle, ...view } = wire;
  return {
    ...view,
    facts: factsFromWire(wire.facts),
    memoryBytes: Number(wire.memoryBytes),
    diskBytes: Number(wire.diskBytes),
    ...(obstacle === undefined ? {} : { obstacle: failureFromWire(obstacle) }),
  };
}

function progressFromWire(wire: Progress): ProgressView {
  return {
    ...wire,
    bytesSent: Number(wire.bytesSent),
    bytesTotal: Number(wire.bytesTotal),
    elapsedMs: Number(wire.elapsedMs),
  };
}

function resultFromWire(wire: Result): ResultView {
  return {
    ...wire,
    bytesSent: Number(wire.bytesSent),
    failure: wire.failure === undefined ? undefined : failureFromWire(wire.failure),
  };
}

function tokenOrderToWire(order: TokenOrder): IssueTokenRequest {
  return {
    source: order.source,
    certificateThumbprint: order.thumbprint ?? "",
    service: order.service ?? "",
    maxMemoryBytes: BigInt(order.maxMemoryBytes ?? 0),
    imageIds: order.imageIds ?? [],
    ttlSeconds: order.ttlSeconds ?? 0,
  };
}
