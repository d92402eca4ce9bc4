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

/** Why an IP address cannot be a peer's, or undefined. Also where it hides in an IPv6 address. */
export function refuseAddress(address: string, options: ResolveOptions = {}): string | undefined {
  const hidden = embeddedIpv4(address);
  if (hidden !== undefined) return refuseAddress(hidden, options);
  const family = isIPv6(address) ? "ipv6" : "ipv4";
  for (const { reason, list } of refusedRanges) {
    if (list.check(address, family)) return reason;
  }
  if (options.allowOwn === true) return undefined;
  if (ownRange(options.own ?? []).check(address, family)) return "an address of this container";
  return undefined;
}

const refusedRanges = [
  { reason: "the unspecified address", list: blockList(["0.0.0.0/8", "::/128"]) },
  { reason: "a link-local or metadata address", list: blockList(linkLocal()) },
  {
    reason: "a multicast or broadcast address",
    list: blockList(["224.0.0.0/4", "255.255.255.255/32", "ff00::/8"]),
  },
];

/**
 * Link-local, which most metadata services of clouds are, and those that are not: Alibaba, Oracle,
 * Azure's wire server, AWS and Google over IPv6. fec0::/10 is site-local, deprecated by RFC 3879.
 */
function linkLocal(): string[] {
  const metadata = ["100.100.100.200/32", "192.0.0.192/32", "168.63.129.16/32"];
  return [
    ...["169.254.0.0/16", "fe80::/10", "fec0::/10"],
    ...metadata,
    ...["fd00:ec2::/32", "fd20:ce::254/128"],
  ];
}

function blockList(subnets: readonly string[]): BlockList {
  const list = new BlockList();
  for (const subnet of subnets) {
    const [network = "", prefix = ""] = subnet.split("/");
    list.addSubnet(network, Number(prefix), isIPv6(network) ? "ipv6" : "ipv4");
  }
  return list;
}

/**
 * The IPv4 address that packets for this IPv6 address end at: IPv4-mapped (::ffff:0:0/96),
 * IPv4-compatible (::/96, RFC 4291), translated (64:ff9b::/96, RFC 6052), 6to4 (2002::/16, RFC
 * 3056). `::` and `::1` are no such addresses.
 */
function embeddedIpv4(address: string): string | undefined {
  if (!isIPv6(address)) return undefined;
  const words = wordsOf(address);
  const [first = 0, second = 0] = words;
  if (first === 0x2002) return dotted(words.slice(1, 3));
  const [sixth = 0, high = 0, low = 0] = words.slice(5);
  const isZero = words.slice(0, 5).every((word) => word === 0);
  const isMapped = isZero && sixth === 0xffff;
  const isCompatible = isZero && sixth === 0 && (high !== 0 || low > 1);
  const isTranslated =
    first === 0x64 && second === 0xff9b && words.slice(2, 6).every((word) => word === 0);
  return isMapped || isCompatible || isTranslated ? dotted([high, low]) : undefined;
}

/** The eight words of an IPv6 address, however it is written; a zone (`%eth0`) is left out. */
function wordsOf(address: string): number[] {
  // The URL parser writes every form in one: hexadecimal, at most one `::` (WHATWG URL, 3.5).
  const { hostname } = new URL(`http://[${address.replace(/%.*$/, "")}]`);
  const [head = "", tail] = hostname.slice(1, -1).split("::");
  const parse = (part: string) => (part === "" ? [] : part.split(":").map((w) => parseInt(w, 16)));
  if (tail === undefined) return parse(head);
  const [before, after] = [parse(head), parse(tail)];
  return [...before, ...Array<number>(8 - before.length - after.length).fill(0), ...after];
}

function dotted(words: readonly number[]): string {
  return words.flatMap((word) => [word >> 8, word & 0xff]).join(".");
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
