/** Handlers as promises; what they throw becomes a gRPC error with our code. */
import type { handleUnaryCall, ServerUnaryCall, sendUnaryData } from "@grpc/grpc-js";
import { toServiceError } from "../peer/grpc-status.js";
import type { Authenticate, CertifiedIdentity, IncomingCall } from "./identity.js";

export interface Caller extends CertifiedIdentity {
  /** IP address without port; empty for the local socket. */
  host: string;
}

export function unary<Q, A>(
  authenticate: Authenticate,
  handle: (request: Q, caller: Caller) => Promise<A>,
): handleUnaryCall<Q, A> {
  return (call: ServerUnaryCall<Q, A>, callback: sendUnaryData<A>) => {
    answer(call.request, identify(authenticate, call as unknown as IncomingCall), handle).then(
      (result) => callback(null, result),
      (thrown) => callback(toServiceError(thrown)),
    );
  };
}

/** @throws as `authenticate` */
export function identify(authenticate: Authenticate, call: IncomingCall): () => Caller {
  return () => ({ ...authenticate(call), host: hostOf(call.getPeer()) });
}

async function answer<Q, A>(
  request: Q,
  caller: () => Caller,
  handle: (request: Q, caller: Caller) => Promise<A>,
): Promise<A> {
  return handle(request, caller());
}

/** `1.2.3.4:5678` or `[::1]:5678`; an IPv4 client of a dual-stack socket comes as ::ffff:1.2.3.4 */
function hostOf(peer: string): string {
  const host = /^\[?([^\]]*?)\]?:\d+$/.exec(peer)?.[1] ?? "";
  return host.replace(/^::ffff:/, "");
}
