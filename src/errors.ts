/**
 * The catalogue of operating errors: every way UMS can fail that is not a bug.
 *
 * Callers match on `code`, never on text. The kind decides the gRPC status, the HTTP status and the
 * exit code of the CLI, each in one table. Programmer errors are `node:assert` failures instead.
 */

export type ErrorKind =
  | "usage"
  | "identity"
  | "missing"
  | "conflict"
  | "unsupported"
  | "limit"
  | "deadline"
  | "unavailable"
  | "integrity"
  | "tool"
  | "cancelled";

/** Code -> kind. docs/errors.md explains each; a test fails when a code is missing there. */
export const errorCatalogue = {
  ERR_CONFIG_INVALID: "usage",
  ERR_SPEC_INVALID: "usage",
  ERR_PEER_UNTRUSTED: "identity",
  ERR_PEER_IDENTITY: "identity",
  ERR_NOT_ALLOWED: "identity",
  ERR_TOKEN_REFUSED: "identity",
  ERR_PKI: "usage",
  ERR_DNS_REFUSED: "identity",
  ERR_SERVICE_NOT_FOUND: "missing",
  ERR_IMAGE_NOT_FOUND: "missing",
  ERR_MIGRATION_NOT_FOUND: "missing",
  ERR_SYSTEM_NOT_FOUND: "missing",
  ERR_MIGRATION_IN_PROGRESS: "conflict",
  ERR_SERVICE_NOT_RUNNING: "conflict",
  ERR_DESTINATION_OCCUPIED: "conflict",
  ERR_VOLUME_NOT_EMPTY: "conflict",
  ERR_EPOCH_STALE: "conflict",
  ERR_DNS_CONFLICT: "conflict",
  ERR_NOT_FENCED: "conflict",
  ERR_REQUEST_CONFLICT: "conflict",
  ERR_PEER_VERSION: "unsupported",
  ERR_PEER_INCOMPATIBLE: "unsupported",
  ERR_RESOURCE_UNSUPPORTED: "unsupported",
  ERR_PRIVILEGE_MISSING: "unsupported",
  ERR_NO_ROOM: "limit",
  ERR_TOO_MANY_REQUESTS: "limit",
  ERR_FRAME_INVALID: "integrity",
  ERR_MANIFEST_MISMATCH: "integrity",
  ERR_CHECKPOINT_UNSAFE: "integrity",
  ERR_JOURNAL_CORRUPT: "integrity",
  ERR_TRANSFER_SHORT: "integrity",
  ERR_DEADLINE: "deadline",
  ERR_PEER_UNREACHABLE: "unavailable",
  ERR_DOCKERD_NOT_READY: "unavailable",
  ERR_DNS_UNREACHABLE: "unavailable",
  ERR_WEBHOOK_FAILED: "unavailable",
  ERR_CRIU_DUMP_FAILED: "tool",
  ERR_CRIU_RESTORE_FAILED: "tool",
  ERR_SYNC_FAILED: "tool",
  ERR_COMMAND_FAILED: "tool",
  ERR_NETWORK_SETUP: "tool",
  ERR_DNS_UPDATE_FAILED: "tool",
  ERR_INTERNAL: "tool",
  ERR_ORCHESTRATOR_UNAVAILABLE: "unavailable",
  ERR_ORCHESTRATOR_REFUSED: "tool",
  ERR_UNTRANSLATABLE: "unsupported",
  ERR_CANCELLED: "cancelled",
} as const satisfies Record<string, ErrorKind>;

export type ErrorCode = keyof typeof errorCatalogue;

/** Extra facts for the reader; must be JSON. */
export type ErrorDetails = Record<string, unknown>;

/**
 * An operating error. `message` is a lower-case sentence with the values in it and no code;
 * `hint` says what the operator can do next.
 */
export class UmsError extends Error {
  readonly code: ErrorCode;
  readonly details: ErrorDetails;
  readonly hint: string | undefined;

  constructor(
    code: ErrorCode,
    message: string,
    options: { details?: ErrorDetails; hint?: string; cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "UmsError";
    this.code = code;
    this.details = options.details ?? {};
    this.hint = options.hint;
  }

  get kind(): ErrorKind {
    return errorCatalogue[this.code];
  }

  /** Turns anything thrown into a UmsError, keeping one that already is; Node codes are mapped. */
  static from(thrown: unknown): UmsError {
    if (thrown instanceof UmsError) return thrown;
    if (!(thrown instanceof Error)) return new UmsError("ERR_INTERNAL", String(thrown));
    const code = nodeErrorCode(thrown);
    const mapped = code === undefined ? undefined : nodeCodes[code];
    return new UmsError(mapped ?? "ERR_INTERNAL", thrown.message, { cause: thrown });
  }
}

const nodeCodes: Record<string, ErrorCode> = {
  ECONNREFUSED: "ERR_PEER_UNREACHABLE",
  ECONNRESET: "ERR_PEER_UNREACHABLE",
  EHOSTUNREACH: "ERR_PEER_UNREACHABLE",
  ENETUNREACH: "ERR_PEER_UNREACHABLE",
  ENOTFOUND: "ERR_PEER_UNREACHABLE",
  EAI_AGAIN: "ERR_PEER_UNREACHABLE",
  EPIPE: "ERR_PEER_UNREACHABLE",
  ETIMEDOUT: "ERR_DEADLINE",
  ENOSPC: "ERR_NO_ROOM",
  ABORT_ERR: "ERR_CANCELLED",
};

/** The first Node error code along the `cause` chain (undici and grpc wrap the socket's error). */
function nodeErrorCode(error: Error): string | undefined {
  let current: unknown = error;
  for (let depth = 0; depth < 8 && current instanceof Error; depth += 1) {
    const code = (current as NodeJS.ErrnoException).code;
    if (typeof code === "string" && code in nodeCodes) return code;
    current = current.cause;
  }
  return undefined;
}

/**
 * Exit codes of the CLI, by kind (sysexits where one fits). 0 is success, 70 a bug.
 * The supervisor's own exit codes are the nested service's, see supervisor/.
 */
export const exitCodes: Record<ErrorKind, number> = {
  usage: 64,
  identity: 77,
  missing: 66,
  conflict: 75,
  unsupported: 69,
  limit: 73,
  deadline: 74,
  unavailable: 68,
  integrity: 65,
  tool: 70,
  cancelled: 130,
};
