/**
 * Errors on the wire: the kind decides the gRPC status, the code travels as trailer metadata, so
 * that callers match on codes across processes.
 */
import { Metadata, type ServiceError, status } from "@grpc/grpc-js";
import { type ErrorCode, type ErrorKind, errorCatalogue, UmsError } from "../errors.js";

const codeKey = "error-code";
const hintKey = "error-hint-bin";

/** One table, also used by docs/errors.md. */
export const grpcStatus: Record<ErrorKind, status> = {
  usage: status.INVALID_ARGUMENT,
  identity: status.PERMISSION_DENIED,
  missing: status.NOT_FOUND,
  conflict: status.FAILED_PRECONDITION,
  unsupported: status.UNIMPLEMENTED,
  limit: status.RESOURCE_EXHAUSTED,
  deadline: status.DEADLINE_EXCEEDED,
  unavailable: status.UNAVAILABLE,
  integrity: status.DATA_LOSS,
  tool: status.INTERNAL,
  cancelled: status.CANCELLED,
};

/** What a gRPC handler gives to its callback. */
export function toServiceError(thrown: unknown): Partial<ServiceError> {
  const error = UmsError.from(thrown);
  const metadata = new Metadata();
  metadata.set(codeKey, error.code);
  if (error.hint !== undefined) metadata.set(hintKey, Buffer.from(error.hint));
  return { code: grpcStatus[error.kind], details: error.message, metadata };
}

/** What a failed call means to its caller. */
export function fromServiceError(error: ServiceError, call: string): UmsError {
  const code = error.metadata?.get(codeKey)[0];
  if (typeof code === "string" && code in errorCatalogue) {
    const hint = error.metadata.get(hintKey)[0];
    return new UmsError(code as ErrorCode, error.details, {
      ...(hint === undefined ? {} : { hint: hint.toString() }),
    });
  }
  return new UmsError(unnamed(error), `${call}: ${error.details}`, { cause: error });
}

/** Failures below our own code: no connection, no answer, no trust. */
function unnamed(error: ServiceError): ErrorCode {
  if (error.code === status.DEADLINE_EXCEEDED) return "ERR_DEADLINE";
  if (error.code === status.CANCELLED) return "ERR_CANCELLED";
  // The reason of our own check of the server's name (supervisor/peer-link.ts), as grpc-js passes it on.
  if (/UmsError: the peer is "/.test(error.details)) return "ERR_PEER_IDENTITY";
  if (/UmsError: the peer "[^"]*" is not in UMS_ALLOW_TO/.test(error.details)) {
    return "ERR_NOT_ALLOWED";
  }
  const untrusted = /certificate|SSL|TLS|self-signed|issuer|EPROTO|alert/i;
  if (error.code === status.UNAVAILABLE) {
    return untrusted.test(error.details) ? "ERR_PEER_UNTRUSTED" : "ERR_PEER_UNREACHABLE";
  }
  return "ERR_INTERNAL";
}
