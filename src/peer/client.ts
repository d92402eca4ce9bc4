/** The other supervisor, as a migration calls it. */
import {
  type CallOptions,
  type Client,
  type ClientUnaryCall,
  credentials,
  Metadata,
  type ServiceError,
} from "@grpc/grpc-js";
import type { UmsError } from "../errors.js";
import {
  type MigrationRef,
  type PrepareResponse,
  PeerClient as WireClient,
} from "../gen/ums/migration/v1/peer.js";
import type { Faults } from "../lib/faults.js";
import type { Facts, Flow, ServiceSpec } from "../spec.js";
import { factsFromWire, factsToWire, failureFromWire, specToWire } from "./convert.js";
import { fromServiceError } from "./grpc-status.js";

export interface Reservation {
  facts: Facts;
  dataPort: number;
  hasImage: boolean;
  knownLayers: number;
  /** How clients will reach the service there; empty or undefined: at the peer's host. */
  publicEndpoint?: string;
}

export interface ReserveOptions {
  spec: ServiceSpec;
  facts: Facts;
  memoryBytes: number;
  diskBytes: number;
  sourceAddress: string;
  /** Issued by the destination; empty: its allow-list decides. */
  token: string;
}

/** Answer of the side that must decide: it did the step, or it refused for good. */
export type Decision = { timingsMs: Record<string, number> } & (
  | { refused: UmsError }
  | { refused?: undefined; digest: string }
);

/** All calls: idempotent, with a deadline, ERR_PEER_* or the peer's own error when they fail. */
export interface Peer {
  reserve(ref: Ref, options: ReserveOptions): Promise<Reservation>;
  /** Answers the mounts whose content the destination does not take. */
  provision(ref: Ref): Promise<{ keptMounts: string[] }>;
  arm(ref: Ref): Promise<void>;
  prepare(ref: Ref, digest: string, flows: Flow[], timeoutMs: number): Promise<Decision>;
  commit(ref: Ref, digest: string): Promise<Decision>;
  abort(ref: Ref, reason: string): Promise<void>;
  query(ref: Ref): Promise<QueryAnswer>;
  /** Resets the TCP connections that this side relays there; answers how many. */
  resetFlows(ref: Ref): Promise<number>;
  close(): void;
}

export interface QueryAnswer {
  /** State of docs/switchover.md, or UNKNOWN. */
  state: string;
  /** Of a source: PENDING, COMMIT or ABORT. */
  decision: string;
  digest: string;
  dataPort: number;
}

export interface Ref {
  migrationId: string;
  epoch: number;
}

export interface PeerTls {
  ca: Buffer;
  cert: Buffer;
  key: Buffer;
  /** Replaces the host-name check: the identity in the certificate counts, not the address. */
  checkServerIdentity: (host: string, certificate: never) => Error | undefined;
}

const callTimeoutMs = 15_000;
/** Unpacking an image of many GiB that has just come, then creating volumes and container. */
const provisionTimeoutMs = 1_800_000;

/** The destination writes the received files to its disk. */
const armTimeoutMs = 600_000;

/** @param address `host:port` */
export function connectPeer(address: string, tls: PeerTls, faults: Faults): Peer {
  const client = new WireClient(
    address,
    credentials.createSsl(tls.ca, tls.key, tls.cert, {
      checkServerIdentity: tls.checkServerIdentity as never,
    }),
    {
      // An IP address may not stand in the TLS server name (RFC 6066); the identity is what counts.
      "grpc.ssl_target_name_override": "ums-peer",
      "grpc.keepalive_time_ms": 10_000,
      "grpc.keepalive_timeout_ms": 10_000,
      "grpc.max_receive_message_length": 1024 * 1024,
      "grpc.initial_reconnect_backoff_ms": 100,
      "grpc.max_reconnect_backoff_ms": 2_000,
    },
  );
  const unary = <Q, A>(method: UnaryMethod<Q, A>, name: string) =>
    withFaultPoints(faults, name, call(client, method, name));
  const reserve = unary(client.reserve, "Reserve");
  const provision = unary(client.provision, "Provision");
  const arm = unary(client.arm, "Arm");
  const prepare = unary(client.prepare, "Prepare");
  const commit = unary(client.commit, "Commit");
  const abort = unary(client.abort, "Abort");
  const query = unary(client.query, "Query");
  const resetFlows = unary(client.resetFlows, "ResetFlows");
  return {
    async reserve(ref, options) {
      const answer = await reserve({
        migration: toWire(ref),
        spec: specToWire(options.spec),
        facts: factsToWire(options.facts),
        memoryBytes: BigInt(options.memoryBytes),
        diskBytes: BigInt(options.diskBytes),
        sourceAddress: options.sourceAddress,
        token: options.token,
      });
      return { ...answer, facts: factsFromWire(answer.facts) };
    },
    async provision(ref) {
      const { keptMounts } = await provision(toWire(ref), provisionTimeoutMs);
      return { keptMounts };
    },
    async arm(ref) {
      await arm({ migration: toWire(ref) }, armTimeoutMs);
    },
    async prepare(ref, digest, flows, timeoutMs) {
      const request = { migration: toWire(ref), manifestDigest: digest, flows };
      return toDecision(await prepare(request, timeoutMs));
    },
    async commit(ref, digest) {
      const answer = await commit({ migration: toWire(ref), manifestDigest: digest });
      return toDecision({ ...answer, manifestDigest: digest });
    },
    async abort(ref, reason) {
      await abort({ migration: toWire(ref), reason });
    },
    async query(ref) {
      const { manifestDigest, ...answer } = await query(toWire(ref));
      return { ...answer, digest: manifestDigest };
    },
    async resetFlows(ref) {
      return (await resetFlows(toWire(ref))).flows;
    },
    close: () => client.close(),
  };
}

type UnaryMethod<Q, A> = (
  request: Q,
  metadata: Metadata,
  options: Partial<CallOptions>,
  callback: (error: ServiceError | null, answer: A) => void,
) => ClientUnaryCall;

function call<Q, A>(client: Client, method: UnaryMethod<Q, A>, name: string) {
  return (request: Q, timeoutMs = callTimeoutMs): Promise<A> =>
    new Promise((resolve, reject) => {
      const options = { deadline: Date.now() + timeoutMs };
      method.call(client, request, new Metadata(), options, (error, answer) => {
        if (error === null) resolve(answer);
        else reject(fromServiceError(error, name));
      });
    });
}

/** The request is lost or late at `call.NAME.send`, the answer at `call.NAME.answer`. */
function withFaultPoints<Q, A>(
  faults: Faults,
  name: string,
  once: (request: Q, timeoutMs?: number) => Promise<A>,
) {
  return async (request: Q, timeoutMs?: number): Promise<A> => {
    const isRepeated = await faults.at(`call.${name}.send`);
    const answer = await once(request, timeoutMs);
    await faults.at(`call.${name}.answer`);
    return isRepeated ? once(request, timeoutMs) : answer;
  };
}

function toDecision(answer: PrepareResponse): Decision {
  const { timingsMs } = answer;
  if (answer.refused !== undefined) return { refused: failureFromWire(answer.refused), timingsMs };
  return { digest: answer.manifestDigest, timingsMs };
}

function toWire(ref: Ref): MigrationRef {
  return { migrationId: ref.migrationId, epoch: BigInt(ref.epoch) };
}
