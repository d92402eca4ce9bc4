/** Our own certificates, where there are some. */
import { networkInterfaces } from "node:os";
import type { Config } from "../config.js";
import { UmsError } from "../errors.js";
import type { Logger } from "../lib/log.js";
import { type IdentityStore, openIdentity } from "../peer/identity.js";

/** Undefined, and a warning in the log, when they are missing or not good. */
export function openIdentityIfThere(config: Config, log: Logger): IdentityStore | undefined {
  try {
    return openIdentity(config.UMS_TLS_DIR, {
      onReloadFailed: (error) => log.error({ code: error.code }, error.message),
    });
  } catch (thrown) {
    const error = UmsError.from(thrown);
    log.warn({ code: error.code, reason: error.message }, "no migration over the network");
    return undefined;
  }
}

/** What takes certificates, or ERR_PKI. */
export function withCertificates<T>(value: T | undefined): T {
  if (value !== undefined) return value;
  throw new UmsError("ERR_PKI", "this outer container has no certificates", {
    hint: "make them with `ums pki issue` and mount them at UMS_TLS_DIR",
  });
}

export function ownAddresses(): string[] {
  return Object.values(networkInterfaces()).flatMap((addresses = []) =>
    addresses.map(({ address }) => address),
  );
}
