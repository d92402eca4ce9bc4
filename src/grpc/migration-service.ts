/** What operators ask of this outer container. */
import type { ServerWritableStream } from "@grpc/grpc-js";
import { UmsError } from "../errors.js";
import type {
  IssueTokenRequest,
  MigrateEvent,
  MigrateRequest,
  MigrationServer,
  Result,
} from "../gen/ums/migration/v1/migration.js";
import type { DoubtOrders } from "../migration/doubt.js";
import type { MigrationReport } from "../migration/report.js";
import type { SourceRunner } from "../migration/source-runner.js";
import type { FactsView, ServiceStatus, TrafficStatus } from "../migration/view.js";
import { factsToWire, failureToWire } from "../peer/convert.js";
import { toServiceError } from "../peer/grpc-status.js";
import type { IssuedToken, TokenOrder } from "../peer/token.js";
import { type Caller, identify, unary } from "./handlers.js";
import type { Authenticate, IncomingCall } from "./identity.js";

export interface MigrationServiceDeps {
  authenticate: Authenticate;
  /** @throws ERR_SERVICE_NOT_FOUND when no service is here */
  source(): SourceRunner;
  status(): ServiceStatus;
  traffic(): Promise<TrafficStatus>;
  facts(): Promise<FactsView>;
  /** @throws ERR_SERVICE_NOT_FOUND when nothing is relayed from here */
  drainRelay(options: DrainRelayOptions): Promise<{ flows: number; resets: number }>;
  doubt: DoubtOrders;
  /** Names the service goes by. */
  isOurs(service: string): boolean;
  /** @throws ERR_CONFIG_INVALID, ERR_PKI when this outer container has no certificates */
  issueToken(order: TokenOrder): Promise<IssuedToken>;
}

export interface DrainRelayOptions {
  /** Until the connections that exist are cut. */
  deadlineMs: number;
  /** Reset them now. */
  isReset: boolean;
}

const defaultDowntimeBudgetMs = 30_000;
const defaultDrainDeadlineMs = 600_000;
/** How often a watcher sees the figures move. */
const progressIntervalMs = 100;

export function createMigrationService(deps: MigrationServiceDeps): MigrationServer {
  const { authenticate } = deps;
  return {
    getStatus: unary(authenticate, async () => {
      const { epoch, relayedPackets, relayedBytes, ...status } = deps.status();
      const { droppedPackets, ...traffic } = await deps.traffic();
      return {
        ...status,
        ...traffic,
        droppedPackets: BigInt(droppedPackets),
        epoch: BigInt(epoch),
        relayedPackets: BigInt(relayedPackets),
        relayedBytes: BigInt(relayedBytes),
      };
    }),
    getFacts: unary(authenticate, async () => {
      const { facts, memoryBytes, diskBytes, obstacle, ...view } = await deps.facts();
      return {
        ...view,
        facts: factsToWire(facts),
        memoryBytes: BigInt(memoryBytes),
        diskBytes: BigInt(diskBytes),
        obstacle: obstacle === undefined ? undefined : failureToWire(obstacle),
      };
    }),
    cancel: unary(authenticate, async ({ migrationId }) => {
      const source = deps.source();
      if (migrationId !== "" && migrationId !== source.state.migrationId) {
        throw new UmsError("ERR_MIGRATION_NOT_FOUND", `migration ${migrationId} is not known here`);
      }
      return { migrationId: await source.cancel("cancelled by the operator") };
    }),
    drainRelay: unary(authenticate, async ({ deadlineMs, reset }) =>
      deps.drainRelay({ deadlineMs: deadlineMs || defaultDrainDeadlineMs, isReset: reset }),
    ),
    issueToken: unary(authenticate, async (request) => {
      const { token, expiresAt } = await deps.issueToken(tokenOrderFromWire(request));
      return { token, expiresAtMs: BigInt(expiresAt.getTime()) };
    }),
    rollback: unary(authenticate, ({ fenced }, caller) =>
      deps.doubt.rollBack({ isFenced: fenced, by: nameOf(caller) }),
    ),
    takeover: unary(authenticate, ({ fenced }, caller) =>
      deps.doubt.takeOver({ isFenced: fenced, by: nameOf(caller) }),
    ),
    exportCommit: unary(authenticate, async () => ({
      certificate: await deps.doubt.exportCommit(),
    })),
    importCommit: unary(authenticate, ({ certificate }) => deps.doubt.importCommit(certificate)),
    migrate: (call) => {
      migrate(deps, call).then(
        () => call.end(),
        (thrown) => call.emit("error", toServiceError(thrown)),
      );
    },
  };
}

function nameOf({ role, name }: Caller): string {
  return `${role} ${name}`;
}

async function migrate(
  deps: MigrationServiceDeps,
  call: ServerWritableStream<MigrateRequest, MigrateEvent>,
): Promise<void> {
  identify(deps.authenticate, call as unknown as IncomingCall)();
  const { destination, destinationName, service, downtimeBudgetMs, token } = call.request;
  if (service !== "" && !deps.isOurs(service)) {
    throw new UmsError("ERR_SERVICE_NOT_FOUND", `there is no service "${service}" here`, {
      hint: "`ums ps` lists it",
    });
  }
  const report = await deps.source().migrate({
    destination: { address: destination, name: destinationName || undefined },
    downtimeBudgetMs: downtimeBudgetMs || defaultDowntimeBudgetMs,
    token,
  });
  await watch(report, call);
  call.write({ event: { $case: "result", value: toResult(report, destination) } });
}

/** Writes progress until the outcome; a watcher that goes away stops nothing. */
async function watch(
  report: MigrationReport,
  call: ServerWritableStream<MigrateRequest, MigrateEvent>,
): Promise<void> {
  let shown = "";
  const show = () => {
    const { phase, bytesSent, bytesTotal, elapsedMs } = report.progress;
    const key = `${phase} ${bytesSent} ${report.doubtReason}`;
    if (key === shown || call.cancelled) return;
    shown = key;
    const progress = {
      migrationId: report.migrationId,
      phase,
      bytesSent: BigInt(Math.round(bytesSent)),
      bytesTotal: BigInt(Math.round(bytesTotal ?? 0)),
      elapsedMs: BigInt(Math.round(elapsedMs)),
      doubt: report.doubtReason ?? "",
    };
    call.write({ event: { $case: "progress", value: progress } });
  };
  const timer = setInterval(show, progressIntervalMs);
  try {
    show();
    await report.ended();
    show();
  } finally {
    clearInterval(timer);
  }
}

function toResult(report: MigrationReport, destination: string): Result {
  const { result, progress, timingsMs } = report;
  const hasMoved = result?.outcome === "moved";
  return {
    migrationId: report.migrationId,
    outcome: result?.outcome ?? "",
    runsOn: result?.runsOn ?? "",
    endpoint: hasMoved ? destination : "",
    totalMs: report.totalMs ?? 0,
    freezeMs: report.freezeMs ?? 0,
    bytesSent: BigInt(Math.round(progress.bytesSent)),
    timingsMs: { ...timingsMs },
    failure: result?.failure === undefined ? undefined : failureToWire(result.failure),
  };
}

/** The wire has no word for "left out" but an empty one. */
function tokenOrderFromWire(request: IssueTokenRequest): TokenOrder {
  const { source, certificateThumbprint, service, maxMemoryBytes, imageIds, ttlSeconds } = request;
  return {
    source,
    ...(certificateThumbprint === "" ? {} : { thumbprint: certificateThumbprint }),
    ...(service === "" ? {} : { service }),
    ...(maxMemoryBytes === 0n ? {} : { maxMemoryBytes: Number(maxMemoryBytes) }),
    ...(imageIds.length === 0 ? {} : { imageIds }),
    ...(ttlSeconds === 0 ? {} : { ttlSeconds }),
  };
}
