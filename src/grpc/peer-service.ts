/** What other supervisors ask of this one. */
import { UmsError } from "../errors.js";
import type { MigrationRef, PeerServer } from "../gen/ums/migration/v1/peer.js";
import { createRateLimit } from "../lib/rate-limit.js";
import type { DestinationRunner } from "../migration/destination-role.js";
import type { DestinationState } from "../migration/destination-state.js";
import type { SourceState } from "../migration/source-state.js";
import { answerQuery } from "../migration/source-state.js";
import type { Decision, Ref } from "../peer/client.js";
import { factsFromWire, factsToWire, failureToWire, specFromWire } from "../peer/convert.js";
import type { Flow } from "../spec.js";
import { type Caller, unary } from "./handlers.js";
import type { Authenticate } from "./identity.js";

export interface PeerServiceDeps {
  authenticate: Authenticate;
  destination: DestinationRunner;
  /** The newest record of a migration away from here, however long ago; undefined: there is none. */
  departure(migrationId: string): SourceState | undefined;
  /** The same of a migration to here. */
  arrival(migrationId: string): DestinationState | undefined;
  dataPort: number;
  /** Resets what the peer of this name relays; answers how many connections. */
  resetFlows(peerName: string): Promise<number>;
  /** Told to sources: how clients reach a service here. Empty: as the source reaches us. */
  publicEndpoint: string;
}

/**
 * Of one peer. The calls of a migration that is reserved need no limit: there is one at a time, and
 * none of them may be turned away once it is committed.
 */
const reserveRate = { burst: 30, perSecond: 1 };
const queryRate = { burst: 60, perSecond: 5 };

export function createPeerService(deps: PeerServiceDeps): PeerServer {
  const { authenticate, destination } = deps;
  const reserves = createRateLimit({ what: "Reserve calls", ...reserveRate });
  const queries = createRateLimit({ what: "Query calls", ...queryRate });
  const fromSource = <Q extends { migration: MigrationRef | undefined }>(
    request: Q,
    caller: Caller,
  ): Ref => {
    const ref = toRef(request.migration);
    destination.checkSource(ref.migrationId, caller.name);
    return ref;
  };
  return {
    reserve: unary(authenticate, async (request, caller) => {
      reserves.take(caller.name);
      const { facts, hasImage, knownLayers } = await destination.reserve({
        ref: toRef(request.migration),
        departure: {
          spec: specFromWire(request.spec),
          memoryBytes: Number(request.memoryBytes),
          diskBytes: Number(request.diskBytes),
        },
        facts: factsFromWire(request.facts),
        source: {
          // A source says its port; where it is, its connection shows.
          address: request.sourceAddress.startsWith(":")
            ? `${bracketed(caller.host)}${request.sourceAddress}`
            : request.sourceAddress,
          name: caller.name,
        },
        token: request.token,
        thumbprint: caller.thumbprint,
      });
      const { dataPort, publicEndpoint } = deps;
      return { facts: factsToWire(facts), dataPort, hasImage, knownLayers, publicEndpoint };
    }),
    provision: unary(authenticate, async (request, caller) =>
      destination.provision(fromSource({ migration: request }, caller)),
    ),
    arm: unary(authenticate, async (request, caller) => {
      await destination.arm(fromSource(request, caller));
      return {};
    }),
    prepare: unary(authenticate, async (request, caller) => {
      const ref = fromSource(request, caller);
      const flows = request.flows.map(toFlow);
      return fromDecision(await destination.prepare(ref, flows, request.manifestDigest));
    }),
    commit: unary(authenticate, async (request, caller) => {
      const ref = fromSource(request, caller);
      return fromDecision(await destination.commit(ref, request.manifestDigest));
    }),
    abort: unary(authenticate, async (request, caller) => {
      await destination.abort(fromSource(request, caller), request.reason);
      return {};
    }),
    resetFlows: unary(authenticate, async (request, caller) => {
      fromSource({ migration: request }, caller);
      return { flows: await deps.resetFlows(caller.name) };
    }),
    query: unary(authenticate, async (request, caller) => {
      queries.take(caller.name);
      return { ...answerFor(deps, request.migrationId), dataPort: deps.dataPort };
    }),
  };
}

function answerFor(deps: PeerServiceDeps, migrationId: string) {
  const { destination, departure, arrival } = deps;
  const { state } = destination;
  const arrived = state.migrationId === migrationId ? state : arrival(migrationId);
  if (arrived !== undefined) {
    return { state: arrived.phase, decision: "", manifestDigest: arrived.digest ?? "" };
  }
  const record = departure(migrationId);
  const decision = answerQuery(record);
  return { state: record?.phase ?? "", decision, manifestDigest: record?.digest ?? "" };
}

function fromDecision(decision: Decision) {
  const { timingsMs } = decision;
  return decision.refused === undefined
    ? { refused: undefined, manifestDigest: decision.digest, timingsMs }
    : { refused: failureToWire(decision.refused), manifestDigest: "", timingsMs };
}

function toRef(wire: MigrationRef | undefined): Ref {
  if (wire === undefined || !/^[0-9a-f-]{36}$/.test(wire.migrationId)) {
    throw new UmsError("ERR_SPEC_INVALID", "the call names no migration");
  }
  return { migrationId: wire.migrationId, epoch: Number(wire.epoch) };
}

function toFlow(wire: {
  protocol: string;
  remoteAddress: string;
  remotePort: number;
  servicePort: number;
}): Flow {
  const { protocol } = wire;
  if (protocol !== "tcp" && protocol !== "udp") {
    throw new UmsError("ERR_SPEC_INVALID", `"${protocol}" is not the protocol of a flow`);
  }
  return { ...wire, protocol };
}

function bracketed(host: string): string {
  return host.includes(":") ? `[${host}]` : host;
}
