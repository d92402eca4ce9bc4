/** What a name shows, asked of the server that has the zone: no cache stands in between. */
import packet from "dns-packet";
import { UmsError } from "../errors.js";
import { type ExchangeOptions, exchange, newMessageId, rcodeError } from "./exchange.js";
import { type AddressType, canonicalAddress, canonicalName, type SetType } from "./wire.js";

export interface Lookup {
  /** IPv4 first. Empty: the name has none. */
  addresses: string[];
  /** How long others may keep the answer; 0 when there is none. */
  ttlSeconds: number;
}

export interface ReadSet {
  data: string[];
  ttlSeconds: number;
  /** True when the name is another name's alias; then `data` is what that one has. */
  isAlias: boolean;
}

/**
 * Asks for a name's addresses.
 * @throws ERR_DNS_UNREACHABLE, ERR_DNS_REFUSED
 * @throws ERR_DNS_UPDATE_FAILED when the server is not authoritative for the name
 */
export async function lookup(name: string, options: ExchangeOptions): Promise<Lookup> {
  const sets = [await readSet(name, "A", options), await readSet(name, "AAAA", options)];
  const found = sets.filter(({ data }) => data.length > 0);
  return {
    addresses: found.flatMap(({ data }) => data),
    ttlSeconds: leastOf(found.map(({ ttlSeconds }) => ttlSeconds)),
  };
}

/** Whether a name shows these addresses and no others. */
export function shows(found: Lookup, addresses: readonly string[]): boolean {
  const wanted = addresses.map((address) => canonicalAddress(addressType(address), address));
  return isSameSet(found.addresses, wanted);
}

export function addressType(address: string): AddressType {
  return address.includes(":") ? "AAAA" : "A";
}

/** Records have no order. */
export function isSameSet(one: readonly string[], other: readonly string[]): boolean {
  return one.length === other.length && one.every((value) => other.includes(value));
}

/** All records of a name and type. @throws as {@link lookup} */
export async function readSet(
  name: string,
  type: SetType,
  options: ExchangeOptions,
): Promise<ReadSet> {
  const questions = [{ name: canonicalName(name), type }];
  const query = packet.encode({ type: "query", id: newMessageId(), questions });
  const { message, rcode } = await exchange(query, options);
  if (rcode !== "NOERROR" && rcode !== "NXDOMAIN") {
    throw rcodeError(rcode, `${name} cannot be read`, options.server);
  }
  const answer = decode(message);
  if (!answer.flag_aa) {
    const { host, port } = options.server;
    throw new UmsError(
      "ERR_DNS_UPDATE_FAILED",
      `${host}:${port} is not authoritative for ${name}`,
      { hint: "name the primary name server of the zone" },
    );
  }
  const answers = answer.answers ?? [];
  const records = answers.filter((record) => record.type === type);
  return {
    data: records.map((record) => ("data" in record ? textOf(record.data) : "")),
    ttlSeconds: leastOf(records.map(ttlOf)),
    isAlias: answers.some((record) => record.type === "CNAME"),
  };
}

function leastOf(values: readonly number[]): number {
  return values.length === 0 ? 0 : Math.min(...values);
}

function decode(message: Buffer): packet.DecodedPacket {
  try {
    return packet.decode(message);
  } catch (cause) {
    throw new UmsError("ERR_DNS_UPDATE_FAILED", "the name server's answer is malformed", { cause });
  }
}

function ttlOf(record: packet.Answer): number {
  return "ttl" in record ? (record.ttl ?? 0) : 0;
}

function textOf(data: unknown): string {
  return Array.isArray(data) ? Buffer.concat(data).toString("utf8") : String(data);
}
