import { UmsError } from "../errors.js";

/**
 * Turns what dockerode throws into a UmsError.
 *
 * Engine answers carry `statusCode` and `json.message` (docker-modem); a socket that is not there
 * has a Node code. A 404 is about the image only when the engine's sentence says so: creating a
 * container answers 404 for a missing image, network or volume alike.
 */
export function engineError(what: string, thrown: unknown): UmsError {
  if (thrown instanceof UmsError) return thrown;
  const error = thrown as EngineFailure;
  const reason = error.json?.message ?? error.message ?? String(thrown);
  const details = { statusCode: error.statusCode, reason };
  const options = { details, cause: thrown };
  if (isUnreachable(error)) {
    return new UmsError("ERR_DOCKERD_NOT_READY", `${what}: the container engine is away`, options);
  }
  if (isMissingImage(error.statusCode, reason)) {
    return new UmsError("ERR_IMAGE_NOT_FOUND", `${what}: ${reason}`, {
      ...options,
      hint: "check the reference and, for a private registry, UMS_REGISTRY_CONFIG",
    });
  }
  if (error.statusCode === 404) {
    return new UmsError("ERR_SERVICE_NOT_FOUND", `${what}: ${reason}`, options);
  }
  if (error.statusCode === 409) {
    return new UmsError("ERR_SERVICE_NOT_RUNNING", `${what}: ${reason}`, options);
  }
  if (/no space left on device/i.test(reason)) {
    return new UmsError("ERR_NO_ROOM", `${what}: ${reason}`, options);
  }
  return new UmsError("ERR_COMMAND_FAILED", `${what}: ${reason}`, options);
}

interface EngineFailure {
  statusCode?: number;
  code?: string;
  message?: string;
  json?: { message?: string };
}

function isUnreachable(error: EngineFailure): boolean {
  const unreachable = ["ECONNREFUSED", "ENOENT", "ECONNRESET", "EPIPE"];
  return error.statusCode === undefined && unreachable.includes(error.code ?? "");
}

/** Sentences of moby's image service and of the registry client (docker 20.10 and 26.1, seen). */
function isMissingImage(statusCode: number | undefined, reason: string): boolean {
  const sentence =
    /no such image|pull access denied|manifest unknown|manifest for .* not found|invalid reference/i;
  return sentence.test(reason) && (statusCode === undefined || statusCode >= 400);
}
