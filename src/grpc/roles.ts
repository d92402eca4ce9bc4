/** Which certificate may call what: one table, and what is not in it may not be called at all. */
import { ServerInterceptingCall, type ServerInterceptor } from "@grpc/grpc-js";
import { UmsError } from "../errors.js";
import { toServiceError } from "../peer/grpc-status.js";
import type { PeerIdentity, PeerRole } from "../transfer/security.js";
import type { Authenticate } from "./identity.js";

/**
 * `peer`: another outer container. `operator`: gives orders. `observer`: looks.
 * A test fails when a call of our services is missing here.
 */
export const callers: Readonly<Record<string, readonly PeerRole[]>> = {
  "/ums.migration.v1.Migration/GetStatus": ["operator", "observer"],
  "/ums.migration.v1.Migration/GetFacts": ["operator"],
  "/ums.migration.v1.Migration/Migrate": ["operator"],
  "/ums.migration.v1.Migration/Cancel": ["operator"],
  "/ums.migration.v1.Migration/IssueToken": ["operator"],
  "/ums.migration.v1.Migration/DrainRelay": ["operator"],
  "/ums.migration.v1.Migration/Rollback": ["operator"],
  "/ums.migration.v1.Migration/Takeover": ["operator"],
  "/ums.migration.v1.Migration/ExportCommit": ["operator"],
  "/ums.migration.v1.Migration/ImportCommit": ["operator"],
  "/ums.migration.v1.Peer/Reserve": ["peer"],
  "/ums.migration.v1.Peer/Provision": ["peer"],
  "/ums.migration.v1.Peer/Arm": ["peer"],
  "/ums.migration.v1.Peer/Prepare": ["peer"],
  "/ums.migration.v1.Peer/Commit": ["peer"],
  "/ums.migration.v1.Peer/Abort": ["peer"],
  "/ums.migration.v1.Peer/Query": ["peer"],
  "/ums.migration.v1.Peer/ResetFlows": ["peer"],
  "/grpc.health.v1.Health/Check": ["operator", "observer"],
  "/grpc.health.v1.Health/Watch": ["operator", "observer"],
};

export interface RoleRules {
  /** @throws ERR_PEER_UNTRUSTED, ERR_PEER_IDENTITY */
  authenticate: Authenticate;
  /** Whether an operator of this name may give orders here. */
  isOperatorAllowed(name: string): boolean;
}

/**
 * Checks a call against the table.
 * @throws ERR_PEER_IDENTITY when the role may not call it, ERR_NOT_ALLOWED when this operator may not
 */
export function checkCall(path: string, caller: PeerIdentity, rules: RoleRules): void {
  const { role, name } = caller;
  const allowed = callers[path] ?? [];
  if (!allowed.includes(role)) {
    throw new UmsError("ERR_PEER_IDENTITY", `${role} ${name} may not call this`, {
      hint: `it takes a certificate of role ${allowed.join(" or ") || "none"} (ums pki issue)`,
    });
  }
  if (role === "operator" && !rules.isOperatorAllowed(name)) {
    throw new UmsError("ERR_NOT_ALLOWED", `operator ${name} gives no orders here`, {
      hint: "UMS_ALLOW_OPERATORS of this outer container lists who does",
    });
  }
}

/** Refuses a call before its request is read. */
export function enforceRoles(rules: RoleRules): ServerInterceptor {
  return ({ path }, call) =>
    new ServerInterceptingCall(call, {
      start: (next) =>
        next({
          onReceiveMetadata(metadata, pass) {
            try {
              checkCall(path, rules.authenticate(call), rules);
            } catch (thrown) {
              return call.sendStatus(toServiceError(thrown) as never);
            }
            pass(metadata);
          },
        }),
    });
}
