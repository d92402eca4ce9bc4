/** Errors as people and other Coordinators see them: RFC 9457, with our stable code. */
import { type ErrorCode, type ErrorKind, errorCatalogue, UmsError } from "../errors.js";

/** Body of `application/problem+json`. */
export interface Problem {
  /** `urn:ums:error:CODE`. */
  type: string;
  /** The kind of error in words. */
  title: string;
  /** HTTP status. */
  status: number;
  detail: string;
  code: ErrorCode;
  /** What to do next. */
  hint?: string;
  details?: Record<string, unknown>;
}

/** One table, also in docs/coordinator.md. */
export const httpStatus: Record<ErrorKind, number> = {
  usage: 400,
  identity: 403,
  missing: 404,
  conflict: 409,
  unsupported: 422,
  limit: 507,
  deadline: 504,
  unavailable: 503,
  integrity: 502,
  tool: 502,
  cancelled: 409,
};

const titles: Record<ErrorKind, string> = {
  usage: "The request cannot be used",
  identity: "Not allowed",
  missing: "Not found",
  conflict: "Something else is in the way",
  unsupported: "Not possible here",
  limit: "No room",
  deadline: "It took too long",
  unavailable: "Something that must answer does not",
  integrity: "Damaged data",
  tool: "A program that does the work failed",
  cancelled: "Cancelled",
};

export function toProblem(thrown: unknown): Problem {
  const { code, kind, message, hint, details } = UmsError.from(thrown);
  return {
    type: `urn:ums:error:${code}`,
    title: titles[kind],
    status: code === "ERR_INTERNAL" ? 500 : httpStatus[kind],
    detail: message,
    code,
    ...(hint === undefined ? {} : { hint }),
    ...(Object.keys(details).length === 0 ? {} : { details }),
  };
}

/** The error that another Coordinator told; undefined when the body is not a problem of ours. */
export function fromProblem(body: unknown): UmsError | undefined {
  const { code, detail, hint, details } = (body ?? {}) as Partial<Problem>;
  if (typeof code !== "string" || !Object.hasOwn(errorCatalogue, code)) return undefined;
  return new UmsError(code, String(detail ?? code), {
    ...(typeof hint === "string" ? { hint } : {}),
    ...(typeof details === "object" && details !== null ? { details } : {}),
  });
}
