/**
 * Where a peer is. The destination of a migration comes from a request, so it is checked before
 * anything is sent there: a checkpoint holds every secret of the service.
 */
import { lookup } from "node:dns/promises";
import { BlockList, isIP, isIPv6 } from "node:net";
import { UmsError } from "../errors.js";
import { within } from "../lib/deadline.js";

export const defaultPeerPort = 9750;

const resolveTimeoutMs = 5_000;

export interface HostPort {
  host: string;
  port: number;
}

export interface ResolveOptions {
  /** Addresses (IP) of this outer container itself. */
  own?: readonly string[];
  /** Take own and loopback addresses too: two outer containers on one network, and tests. */
  allowOwn?: boolean;
}

/**
 * Parses `HOST`, `HOST:PORT`, `[IPV6]` or `[IPV6]:PORT`; the port is 9750 when left out.
 * @throws ERR_CONFIG_INVALID
 */
export function parseAddress(text: string): HostPort {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([A-Za-z0-9_.-]+))(?::(\d{1,5}))?$/.exec(text);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3] ?? defaultPeerPort);
  const isBracketed = match?.[1] !== undefined;
  if (host === undefined || host.length > 253 || isBracketed !== isIPv6(host)) {
    throw new UmsError("ERR_CONFIG_INVALID", `"${text}" is not HOST:PORT`, {
      hint: "an IPv6 address goes into brackets, e.g. [2001:db8::1]:9750",
    });
  }
  if (port < 1 || port > 65_535) {
    throw new UmsError("ERR_CONFIG_INVALID", `"${text}": the port must be 1 to 65535`);
  }
  return { host, port };
}

/**
 * Parses an address as {@link parseAddress}, resolves its host to one IP address and checks that.
 * Every connection of one migration goes to the result, so that a name which later points elsewhere
 * changes nothing (DNS rebinding).
 * @throws ERR_CONFIG_INVALID when malformed or not allowed: link-local (cloud metadata services live
 *   there), multicast, broadcast, unspecified, loopback or own address
 * @throws ERR_PEER_UNREACHABLE when the name does not resolve
 * @throws ERR_DEADLINE after 5 s
 */
export async function resolveAddress(
  text: string,
  options: ResolveOptions = {},
): Promise<HostPort> {
  const { host, port } = parseAddress(text);
  const address = isIP(host) === 0 ? await resolve(host) : host;
  const refusal = refuseAddress(address, options);
  if (refusal !== undefined) {
    const shown = address === host ? host : `${host} (${address})`;
    throw new UmsError("ERR_CONFIG_INVALID", `${shown} cannot be a peer: it is ${refusal}`);
  }
  return { host: address, port };
}

/** Why an IP address cannot be a peer's, or undefined. */
export function refuseAddress(address: string, options: ResolveOptions = {}): string | undefined {
  const family = isIPv6(address) ? "ipv6" : "ipv4";
  for (const { reason, list } of refusedRanges()) {
    if (list.check(address, family)) return reason;
  }
  if (options.allowOwn === true) return undefined;
  if (ownRange(options.own ?? []).check(address, family)) return "an address of this container";
  return undefined;
}

/**
 * BlockList compares IPv4-mapped IPv6 addresses (::ffff:a.b.c.d) with the IPv4 rules by itself, so
 * writing an address that way gets round none of these.
 */
function refusedRanges(): { reason: string; list: BlockList }[] {
  const unspecified = new BlockList();
  unspecified.addSubnet("0.0.0.0", 8);
  unspecified.addAddress("::", "ipv6");
  const linkLocal = new BlockList();
  linkLocal.addSubnet("169.254.0.0", 16);
  linkLocal.addSubnet("fe80::", 10, "ipv6");
  // The AWS metadata service over IPv6; the others are link-local.
  linkLocal.addAddress("fd00:ec2::254", "ipv6");
  const multicast = new BlockList();
  multicast.addSubnet("224.0.0.0", 4);
  multicast.addAddress("255.255.255.255");
  multicast.addSubnet("ff00::", 8, "ipv6");
  return [
    { reason: "the unspecified address", list: unspecified },
    { reason: "a link-local or metadata address", list: linkLocal },
    { reason: "a multicast or broadcast address", list: multicast },
  ];
}

function ownRange(own: readonly string[]): BlockList {
  const list = new BlockList();
  list.addSubnet("127.0.0.0", 8);
  list.addAddress("::1", "ipv6");
  for (const address of own) list.addAddress(address, isIPv6(address) ? "ipv6" : "ipv4");
  return list;
}

async function resolve(host: string): Promise<string> {
  try {
    const { address } = await within(resolveTimeoutMs, `resolving ${host}`, lookup(host));
    return address;
  } catch (error) {
    if (error instanceof UmsError) throw error;
    throw new UmsError("ERR_PEER_UNREACHABLE", `${host} does not resolve`, { cause: error });
  }
}
