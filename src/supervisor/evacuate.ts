/**
 * Asked to stop, this outer container lets its Coordinator move the service away first, where it is
 * configured to: a drained node or a preempted machine then costs a freeze instead of the service's
 * state. Whatever goes wrong, the stop goes on as ordered.
 */
import { got, HTTPError, type OptionsOfJSONResponseBody, type RequestError } from "got";
import type { Config } from "../config.js";
import { UmsError } from "../errors.js";
import { poll } from "../lib/deadline.js";
import type { Logger } from "../lib/log.js";
import { type OwnIdentity, readIdentity } from "../peer/identity.js";

export interface EvacuateDeps {
  config: Pick<
    Config,
    "UMS_COORDINATOR" | "UMS_EVACUATE_TO" | "UMS_EVACUATE_TIMEOUT" | "UMS_TLS_DIR"
  >;
  /** Undefined: no service is here. */
  serviceId: string | undefined;
  log: Logger;
  /** Between two questions. Default 500. */
  pollMs?: number;
}

interface Answer {
  migrationId: string;
  state: "moving" | "moved" | "failed";
  reason?: string;
}

const requestTimeoutMs = 10_000;

/** True when the service has moved, and its Coordinator has done all it has to do here. */
export async function evacuate(deps: EvacuateDeps): Promise<boolean> {
  const { config, serviceId, log, pollMs = 500 } = deps;
  const { UMS_COORDINATOR: url, UMS_EVACUATE_TO: evacuateTo } = config;
  if (url === undefined || evacuateTo === undefined || serviceId === undefined) return false;
  const timeoutMs = config.UMS_EVACUATE_TIMEOUT * 1000;
  log.info({ coordinator: url, evacuateTo, timeoutMs }, "asked to stop: the service is evacuated");
  try {
    const identity = readIdentity(config.UMS_TLS_DIR);
    const order = { serviceId, evacuateTo, graceMs: Math.max(1, timeoutMs) };
    const { migrationId } = await call(`${url}/v1/evacuations`, identity, timeoutMs, order);
    const answer = await poll(
      "the evacuation",
      async () => {
        const asked = await call(`${url}/v1/evacuations/${migrationId}`, identity, timeoutMs);
        return asked.state === "moving" ? undefined : asked;
      },
      { timeoutMs, intervalMs: pollMs },
    );
    if (answer.state === "moved") return true;
    log.error({ migrationId, reason: answer.reason }, "not evacuated; it is stopped as ordered");
  } catch (thrown) {
    const { code, message } = UmsError.from(thrown);
    log.error({ code }, `not evacuated, stopped as ordered: ${message}`);
  }
  return false;
}

async function call(
  url: string,
  identity: OwnIdentity,
  timeoutMs: number,
  order?: object,
): Promise<Answer> {
  const options: OptionsOfJSONResponseBody = {
    method: order === undefined ? "GET" : "POST",
    responseType: "json",
    followRedirect: false,
    timeout: { request: Math.min(requestTimeoutMs, timeoutMs) },
    // The order is kept by the Coordinator for the service: twice is once.
    retry: { limit: 2, methods: ["GET"] },
    headers: { "user-agent": "ums" },
    https: {
      certificateAuthority: identity.ca,
      certificate: identity.cert,
      key: identity.key,
      minVersion: "TLSv1.3",
      checkServerIdentity: (_host, certificate) => {
        const { role, name } = identity.identify(certificate);
        if (role === "operator") return undefined;
        return new UmsError("ERR_PEER_IDENTITY", `${role} ${name} is no Coordinator`);
      },
    },
    ...(order === undefined ? {} : { json: order }),
  };
  try {
    return (await got<Answer>(url, options)).body;
  } catch (thrown) {
    const error = thrown as RequestError;
    const told = error instanceof HTTPError ? (error.response.body as { detail?: string }) : {};
    // Not as the cause: got's errors carry the request, and with it our key.
    throw new UmsError("ERR_PEER_UNREACHABLE", `the Coordinator: ${told?.detail ?? error.message}`);
  }
}
