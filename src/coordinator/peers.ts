/** Calls to the Coordinators of other computing systems: HTTPS, our certificate, our authority. */
import { got, HTTPError, type OptionsOfJSONResponseBody, type RequestError } from "got";
import { type ErrorCode, UmsError } from "../errors.js";
import type { Untranslatable } from "../orchestrators/contract.js";
import type { WorkloadSpec } from "../orchestrators/workload.js";
import type { IdentityStore } from "../peer/identity.js";
import type { Facts } from "../spec.js";
import type { KnownSystem } from "./config.js";
import { fromProblem, type Problem } from "./problem.js";

export interface ArrivalOrder {
  spec: WorkloadSpec;
  service: string;
  from: { system: string; peerName: string };
  facts: Facts;
}

export interface ArrivalView {
  migrationId: string;
  state: "creating" | "ready" | "failed";
  /** Migration Interface of the outer container that was made, `host:port`. */
  endpoint?: string;
  peerName?: string;
  /** Of its machine; once it is ready. */
  facts?: Facts;
  untranslatable: Untranslatable[];
  problem?: Problem;
}

export interface SystemView {
  name: string;
  orchestrator: string;
  version: string;
  features: string[];
}

export interface FeasibilityView {
  orchestrator: string;
  untranslatable: Untranslatable[];
  /** Of an outer container that runs there. */
  facts?: Facts;
}

/** Every call throws ERR_PEER_UNREACHABLE, ERR_PEER_UNTRUSTED, ERR_PEER_IDENTITY or what it was told. */
export interface PeerCoordinator {
  describe(): Promise<SystemView>;
  feasibility(spec: WorkloadSpec): Promise<FeasibilityView>;
  putArrival(migrationId: string, order: ArrivalOrder): Promise<ArrivalView>;
  arrival(migrationId: string): Promise<ArrivalView>;
  /** Succeeds when there is none. */
  deleteArrival(migrationId: string): Promise<void>;
  /** @throws ERR_SERVICE_NOT_RUNNING while the service does not run there */
  keepArrival(migrationId: string): Promise<void>;
}

export interface PeerCoordinators {
  names(): string[];
  /** @throws ERR_SYSTEM_NOT_FOUND */
  to(system: string): PeerCoordinator;
}

export interface PeerOptions {
  /** Name of this system. */
  system: string;
  /** Undefined: plain HTTP between insecure Coordinators on one machine. */
  identity: IdentityStore | undefined;
  /** Of one try. Default 10,000. */
  timeoutMs?: number;
  /** Repeats after the first try; all calls are idempotent. Default 3. */
  retries?: number;
}

const repeated = [408, 429, 503, 504];

export function connectPeerCoordinators(
  systems: readonly KnownSystem[],
  options: PeerOptions,
): PeerCoordinators {
  return {
    names: () => systems.map(({ name }) => name),
    to(name) {
      const system = systems.find((one) => one.name === name);
      if (system !== undefined) return new HttpPeer(system, options);
      throw new UmsError("ERR_SYSTEM_NOT_FOUND", `no computing system "${name}" is known here`, {
        hint: "GET /v1/systems lists them; UMS_COORDINATOR_SYSTEMS adds one",
      });
    },
  };
}

class HttpPeer implements PeerCoordinator {
  constructor(
    private readonly system: KnownSystem,
    private readonly options: PeerOptions,
  ) {}

  describe = () => this.call<SystemView>("GET", "/v1/system");
  feasibility = (spec: WorkloadSpec) =>
    this.call<FeasibilityView>("PUT", "/v1/feasibility", { spec });
  putArrival = (id: string, order: ArrivalOrder) =>
    this.call<ArrivalView>("PUT", `/v1/arrivals/${id}`, order);
  arrival = (id: string) => this.call<ArrivalView>("GET", `/v1/arrivals/${id}`);
  deleteArrival = (id: string) => this.call<void>("DELETE", `/v1/arrivals/${id}`);
  keepArrival = (id: string) => this.call<void>("POST", `/v1/arrivals/${id}/keep`);

  private async call<T>(
    method: "GET" | "PUT" | "POST" | "DELETE",
    path: string,
    body?: unknown,
  ): Promise<T> {
    const { timeoutMs = 10_000, retries = 3 } = this.options;
    const request: OptionsOfJSONResponseBody = {
      method,
      responseType: "json",
      followRedirect: false,
      timeout: { request: timeoutMs },
      // All of these may be done twice: they are keyed by the migration.
      retry: { limit: retries, methods: [method], statusCodes: repeated, backoffLimit: 5_000 },
      headers: { "user-agent": "ums-coordinator", "ums-system": this.options.system },
      https: this.tls(),
      ...(body === undefined ? {} : { json: body }),
    };
    try {
      return (await got<T>(`${this.system.url}${path}`, request)).body;
    } catch (thrown) {
      throw this.explain(thrown as RequestError);
    }
  }

  private tls(): NonNullable<OptionsOfJSONResponseBody["https"]> {
    const identity = this.options.identity?.current();
    if (identity === undefined) return {};
    return {
      certificateAuthority: identity.ca,
      certificate: identity.cert,
      key: identity.key,
      minVersion: "TLSv1.3",
      checkServerIdentity: (_host, certificate) => {
        try {
          const { role, name } = identity.identify(certificate);
          if (role === "operator" && name === this.system.name) return undefined;
          return new UmsError(
            "ERR_PEER_IDENTITY",
            `the Coordinator of ${this.system.name} shows the certificate of ${role} ${name}`,
            { hint: `it needs the one of: ums pki issue ${this.system.name} --operator` },
          );
        } catch (thrown) {
          return UmsError.from(thrown);
        }
      },
    };
  }

  private explain(error: RequestError): UmsError {
    const who = `the Coordinator of ${this.system.name} (${this.system.url})`;
    if (error instanceof HTTPError) {
      const told = fromProblem(error.response.body);
      if (told !== undefined) return told;
      const message = `${who} answered ${error.response.statusCode} without saying why`;
      return new UmsError("ERR_PEER_UNREACHABLE", message);
    }
    for (let cause: unknown = error; cause instanceof Error; cause = cause.cause) {
      if (cause instanceof UmsError) return cause;
    }
    // Without got's error as the cause: it carries the request, our key included.
    return new UmsError(codeOf(error), `${who} cannot be reached: ${error.message}`, {
      hint: "check its address, that it runs, and the certificates of both sides",
    });
  }
}

function codeOf({ code, message }: RequestError): ErrorCode {
  // OpenSSL's and Node's names of verification failures and alerts.
  const untrusted = /CERT|SIGNED|ISSUER|SSL|TLS|EPROTO|VERIFY/;
  return untrusted.test(code) || /certificate|alert/i.test(message)
    ? "ERR_PEER_UNTRUSTED"
    : "ERR_PEER_UNREACHABLE";
}
