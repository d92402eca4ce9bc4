/**
 * What an operator may do about a migration that does not end by itself: give the word that the other
 * side is dead, or carry the source's COMMIT by hand.
 */
import { UmsError } from "../errors.js";
import type { Logger } from "../lib/log.js";
import { signCommit, verifyCommit } from "../peer/commit-certificate.js";
import type { OwnIdentity } from "../peer/identity.js";
import type { DestinationRunner } from "./destination-role.js";
import { hasRefused } from "./destination-state.js";
import type { Fence } from "./fence.js";
import type { Journal } from "./journal.js";
import type { SourceRunner } from "./source-runner.js";
import { isCommitted } from "./source-state.js";

export interface DoubtDeps {
  /** @throws ERR_SERVICE_NOT_FOUND when no service is here */
  source(): SourceRunner;
  destination: DestinationRunner;
  journal: Journal;
  /** @throws ERR_PKI when there are no certificates */
  identity(): OwnIdentity;
  /** Undefined while no service was ever here. */
  serviceId(): string | undefined;
  log: Logger;
}

export interface FencedOrder {
  isFenced: boolean;
  /** Who gives it. */
  by: string;
}

/** What came of an order. */
export interface DoubtOutcome {
  migrationId: string;
  /** State of docs/switchover.md. */
  state: string;
}

export interface DoubtOrders {
  /** @throws ERR_NOT_FENCED, ERR_MIGRATION_NOT_FOUND */
  rollBack(order: FencedOrder): Promise<DoubtOutcome>;
  /** @throws ERR_NOT_FENCED, ERR_MIGRATION_NOT_FOUND */
  takeOver(order: FencedOrder): Promise<DoubtOutcome>;
  /** @throws ERR_MIGRATION_NOT_FOUND while the decision has not fallen; ERR_PKI */
  exportCommit(): Promise<string>;
  /**
   * Idempotent, as the source's own call.
   * @throws ERR_SPEC_INVALID, ERR_PEER_UNTRUSTED, ERR_PEER_IDENTITY, ERR_MIGRATION_NOT_FOUND,
   *   ERR_EPOCH_STALE, ERR_MANIFEST_MISMATCH, ERR_SERVICE_NOT_FOUND, ERR_PKI
   */
  importCommit(certificate: string): Promise<DoubtOutcome>;
}

/** What must be true before `ums rollback --fenced`; also the CLI's own text. */
export const rollbackConditions = `Give --fenced only if ALL of this is true:
    1. the destination's outer container does not run: its machine is off, or it is deleted;
    2. nothing will ever start it again with its /var/lib/ums: no restart policy, no orchestrator,
       no snapshot or backup of it;
    3. nobody imports this migration's COMMIT, should it have been exported.
  If one is false, a second copy of the service can start. What the service did at the destination,
  if it ran there for a while, is lost: it goes on here as it was at the freeze.`;

/** What must be true before `ums takeover --fenced`; also the CLI's own text. */
export const takeoverConditions = `Give --fenced only if ALL of this is true:
    1. the source's outer container does not run: its machine is off, or it is deleted;
    2. nothing will ever start it again with its /var/lib/ums: no restart policy, no orchestrator,
       no snapshot or backup of it.
  If one is false, a second copy of the service can start. If the source had given up the migration
  and gone on before it died, what the service did there since the freeze is lost.`;

export function createDoubtOrders(deps: DoubtDeps): DoubtOrders {
  const { destination, journal, log } = deps;

  return {
    async rollBack(order) {
      const source = deps.source();
      const fence = accept(order, "the destination", rollbackConditions);
      log.warn({ ...fence, ...source.state }, "rollback --fenced");
      await source.rollBack(fence);
      return outcome(source.state);
    },
    async takeOver(order) {
      const fence = accept(order, "the source", takeoverConditions);
      log.warn({ ...fence, ...destination.state }, "takeover --fenced");
      await destination.takeOver(fence);
      return outcome(destination.state);
    },
    async exportCommit() {
      const source = deps.source();
      const { phase, migrationId, issuedEpoch, digest } = source.state;
      if (!isCommitted(phase) || migrationId === undefined || digest === undefined) {
        throw new UmsError("ERR_MIGRATION_NOT_FOUND", `nothing is committed here (${phase})`, {
          hint: "there is a COMMIT in COMMITTED, DONE and RETIRED alone; see `ums status`",
        });
      }
      const identity = deps.identity();
      return await signCommit(identity, {
        serviceId: deps.serviceId() ?? "",
        migrationId,
        epoch: issuedEpoch,
        digest,
        source: identity.self.name,
        destination: source.destination?.name ?? "",
        at: new Date().toISOString(),
      });
    },
    async importCommit(certificate) {
      const identity = deps.identity();
      const { claims, signer } = await verifyCommit(certificate, identity);
      const { migrationId, epoch, digest } = claims;
      const record = journal.find("destination", migrationId);
      if (record?.role !== "destination") {
        throw new UmsError(
          "ERR_MIGRATION_NOT_FOUND",
          `migration ${migrationId} did not come here`,
          {
            hint: `the COMMIT is for the outer container ${claims.destination || "that it went to"}`,
          },
        );
      }
      destination.checkSource(migrationId, signer.name);
      checkNames(claims, identity.self.name, deps.serviceId());
      const { state } = record;
      if (hasRefused(state.phase)) {
        throw new UmsError("ERR_EPOCH_STALE", `the migration has ended here (${state.phase})`, {
          hint: "this side has promised never to run it; the source rolls back when it hears that",
        });
      }
      if (state.epoch !== epoch) {
        throw new UmsError(
          "ERR_EPOCH_STALE",
          `the COMMIT is for epoch ${epoch}, not ${state.epoch}`,
        );
      }
      if (state.digest !== digest) {
        const message = "the COMMIT is for another checkpoint than the one received here";
        const details = { expected: digest, got: state.digest };
        throw new UmsError("ERR_MANIFEST_MISMATCH", message, { details });
      }
      const decision = await destination.commit({ migrationId, epoch }, digest);
      if (decision.refused !== undefined) throw decision.refused;
      return { migrationId, state: "RUNNING" };
    },
  };
}

function accept({ isFenced, by }: FencedOrder, otherSide: string, conditions: string): Fence {
  if (isFenced) return { by, at: new Date().toISOString() };
  throw new UmsError("ERR_NOT_FENCED", `nobody has said that ${otherSide} is dead for good`, {
    hint: conditions,
  });
}

function checkNames(
  claims: { serviceId: string; destination: string },
  ownName: string,
  serviceId: string | undefined,
): void {
  if (claims.destination !== "" && claims.destination !== ownName) {
    const message = `the COMMIT is for ${claims.destination}; this is ${ownName}`;
    throw new UmsError("ERR_PEER_IDENTITY", message);
  }
  if (claims.serviceId !== serviceId) {
    const message = `the COMMIT is for service ${claims.serviceId}; here is ${serviceId}`;
    throw new UmsError("ERR_SERVICE_NOT_FOUND", message);
  }
}

function outcome({ migrationId, phase }: { migrationId?: string; phase: string }): DoubtOutcome {
  return { migrationId: migrationId ?? "", state: phase };
}
