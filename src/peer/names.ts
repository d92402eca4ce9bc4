/**
 * Who a certificate speaks for: a URI in its subject alternative names, `ums://peer/NAME` for an
 * outer container, `ums://operator/NAME` for a person or a tool that gives orders and
 * `ums://observer/NAME` for one that only looks.
 * Host names are not identities here: outer containers get new addresses all the time.
 */
import type { PeerIdentity, PeerRole } from "../transfer/security.js";

/** Lower-case DNS-like, 1 to 63 characters: fit for logs, allow-lists and file names as it is. */
const namePattern = /^[a-z0-9](?:[a-z0-9.-]{0,61}[a-z0-9])?$/;

/** Every URI that claims to be ours, right or wrong. */
export const identityScheme = "ums://";

export function isPeerName(name: string): boolean {
  return namePattern.test(name);
}

/** `{ role: "peer", name: "a" }` -> `ums://peer/a`. */
export function formatIdentity({ role, name }: PeerIdentity): string {
  return `${identityScheme}${role}/${name}`;
}

/** Reads such a URI; undefined when it is not exactly one of the three forms. */
export function parseIdentityUri(uri: string): PeerIdentity | undefined {
  const [role, name, ...rest] = uri.slice(identityScheme.length).split("/");
  if (!uri.startsWith(identityScheme) || rest.length > 0) return undefined;
  if (role === undefined || !isRole(role)) return undefined;
  if (name === undefined || !isPeerName(name)) return undefined;
  return { role, name };
}

function isRole(text: string): text is PeerRole {
  return text === "peer" || text === "operator" || text === "observer";
}
