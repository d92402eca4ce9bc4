/**
 * Who calls, and what that one may. Default deny: a route without a word about access takes people
 * and other Coordinators only.
 */
import { createHash, timingSafeEqual } from "node:crypto";
import type { TLSSocket } from "node:tls";
import type { FastifyRequest } from "fastify";
import { UmsError } from "../../errors.js";
import type { IdentityStore } from "../../peer/identity.js";

/**
 * - `public`: anybody; nothing there is secret or changes anything;
 * - `user`: an operator's certificate, or the API token;
 * - `coordinator`: the certificate of a known system's Coordinator;
 * - `outer`: the certificate of an outer container (role peer).
 */
export type Access = "public" | "user" | "coordinator" | "outer";

export interface Principal {
  kind: "operator" | "peer" | "token" | "anybody";
  /** In the certificate. */
  name: string;
}

declare module "fastify" {
  interface FastifyContextConfig {
    access?: Access;
  }
  interface FastifyRequest {
    principal: Principal;
  }
}

export interface AuthOptions {
  /** Undefined: insecure. Everybody who reaches the loopback address may do everything. */
  identity: IdentityStore | undefined;
  token: string | undefined;
  knownSystems: readonly string[];
}

/** Of the own system, told by insecure Coordinators; believed by insecure ones only. */
export const systemHeader = "ums-system";

/** @throws ERR_PEER_UNTRUSTED (401), ERR_PEER_IDENTITY (403) */
export function authorize(request: FastifyRequest, options: AuthOptions): Principal {
  const access = request.routeOptions.config.access ?? "user";
  checkSite(request);
  if (access === "public") return { kind: "anybody", name: "" };
  if (options.identity === undefined) {
    const name = request.headers[systemHeader];
    return { kind: "operator", name: typeof name === "string" ? name : "local" };
  }
  const principal = identify(request, options);
  if (isAllowed(principal, access, options)) return principal;
  const who = `${principal.kind} ${principal.name}`.trim();
  throw new UmsError("ERR_PEER_IDENTITY", `${who} may not do this`, { hint: hints[access] });
}

const hints: Record<Access, string> = {
  public: "",
  user: "use the API token, or a certificate of: ums pki issue NAME --operator",
  coordinator: "only Coordinators of systems in UMS_COORDINATOR_SYSTEMS may",
  outer: "only outer containers may",
};

function isAllowed(principal: Principal, access: Access, { knownSystems }: AuthOptions): boolean {
  const { kind, name } = principal;
  if (access === "outer") return kind === "peer";
  if (access === "coordinator") return kind === "operator" && knownSystems.includes(name);
  return kind === "operator" || kind === "token";
}

function identify(request: FastifyRequest, { identity, token }: AuthOptions): Principal {
  const { authorization } = request.headers;
  if (authorization !== undefined) {
    const given = /^Bearer (\S+)$/i.exec(authorization)?.[1];
    if (token !== undefined && given !== undefined && isEqual(given, token)) {
      return { kind: "token", name: "token" };
    }
    throw untrusted("the API token is wrong");
  }
  const socket = request.raw.socket as TLSSocket;
  const certificate = socket.getPeerCertificate?.();
  if (certificate?.raw === undefined)
    throw untrusted("neither a certificate nor a token was shown");
  if (!socket.authorized) {
    throw untrusted(`the certificate is not trusted: ${String(socket.authorizationError)}`);
  }
  const { role, name } = (identity as IdentityStore).current().identify(certificate);
  // An observer looks at outer containers; what a Coordinator tells is for operators.
  return { kind: role === "observer" ? "anybody" : role, name };
}

/** A page of another origin must not use a certificate that the browser would show for it. */
function checkSite(request: FastifyRequest): void {
  const site = request.headers["sec-fetch-site"];
  const isSafe = request.method === "GET" || request.method === "HEAD";
  if (isSafe || site === undefined || site === "same-origin" || site === "none") return;
  throw new UmsError("ERR_PEER_IDENTITY", "requests from other sites are refused");
}

/** Of equal length by hashing, so that neither content nor length shows in the time. */
function isEqual(a: string, b: string): boolean {
  const digest = (text: string) => createHash("sha256").update(text).digest();
  return timingSafeEqual(digest(a), digest(b));
}

function untrusted(message: string): UmsError {
  return new UmsError("ERR_PEER_UNTRUSTED", message, { hint: hints.user });
}
