/**
 * A service's name, claimed by the newest owner of the service.
 *
 * Beside the addresses of NAME stands a TXT record at _ums.NAME: which service holds the name, in
 * which epoch, and what it wrote there. Both change in one update, on condition that both are still
 * what was read before. So an owner of an older epoch that comes late, another service with the
 * same name and a person who pointed the name elsewhere are all noticed, and never overwritten.
 */
import { UmsError } from "../errors.js";
import type { ExchangeOptions } from "./exchange.js";
import { addressType, isSameSet, type ReadSet, readSet } from "./lookup.js";
import type { TsigKey } from "./tsig.js";
import { updateRecords } from "./update.js";
import { type AddressType, canonicalAddress, canonicalName, type RecordSet } from "./wire.js";

export interface ClaimOptions extends ExchangeOptions {
  key: TsigKey;
  zone: string;
  name: string;
  /** IPv4, IPv6 or both. */
  addresses: readonly string[];
  ttlSeconds: number;
  serviceId: string;
  /** Of the ownership. Only a newer owner takes the name from this one. */
  epoch: number;
  /** Asked after the name was read and before it is changed; false ends the claim. */
  isOwner(): boolean;
}

export interface Claim {
  outcome: "changed" | "unchanged";
  /** What the name showed before. */
  previous: string[];
}

/**
 * Makes a name show the given addresses and checks that it does.
 * @throws ERR_DNS_CONFLICT, ERR_DNS_REFUSED, ERR_DNS_UNREACHABLE, ERR_DNS_UPDATE_FAILED
 * @throws ERR_EPOCH_STALE when `isOwner` says no
 */
export async function claimName(options: ClaimOptions): Promise<Claim> {
  const name = canonicalName(options.name);
  const wanted = wantedSets(options, name);
  const before = await readSets(name, options);
  const marker = parseMarker(before, name);
  const previous = before.slice(0, 2).flatMap(({ data }) => data);
  if (isDone(before, wanted, options.ttlSeconds)) return { outcome: "unchanged", previous };
  checkMarker(marker, previous, options);
  if (!options.isOwner()) {
    throw new UmsError("ERR_EPOCH_STALE", `the service has gone on: ${name} is not ours any more`);
  }
  await updateRecords({ ...options, expected: before, wanted });
  if (!isDone(await readSets(name, options), wanted, options.ttlSeconds)) {
    throw new UmsError("ERR_DNS_UPDATE_FAILED", `${name} does not show what was written`);
  }
  return { outcome: "changed", previous };
}

interface Marker {
  serviceId: string;
  epoch: number;
  addresses: string[];
}

type SeenSet = RecordSet & ReadSet;

const markerVersion = "ums=1";

export function markerName(name: string): string {
  return `_ums.${canonicalName(name)}`;
}

/** Both families, so that no client of the other one goes on to the old place. */
function wantedSets(options: ClaimOptions, name: string): RecordSet[] {
  const { serviceId, epoch } = options;
  const ofType = (type: AddressType) =>
    options.addresses
      .filter((address) => addressType(address) === type)
      .map((address) => canonicalAddress(type, address));
  const [v4, v6] = [ofType("A"), ofType("AAAA")];
  const marker = `${markerVersion};service=${serviceId};epoch=${epoch};at=${[...v4, ...v6].join(",")}`;
  return [
    { name, type: "A", data: v4 },
    { name, type: "AAAA", data: v6 },
    { name: markerName(name), type: "TXT", data: [marker] },
  ];
}

async function readSets(name: string, options: ExchangeOptions): Promise<SeenSet[]> {
  const sets: SeenSet[] = [];
  for (const type of ["A", "AAAA", "TXT"] as const) {
    const owner = type === "TXT" ? markerName(name) : name;
    const set = { ...(await readSet(owner, type, options)), name: owner, type };
    if (set.isAlias) {
      throw new UmsError("ERR_DNS_CONFLICT", `${owner} is an alias of another name (CNAME)`, {
        hint: "use the name it points to as UMS_DNS_NAME",
      });
    }
    sets.push(set);
  }
  return sets;
}

function isDone(seen: SeenSet[], wanted: RecordSet[], ttlSeconds: number): boolean {
  return wanted.every(({ data }, index) => {
    const set = seen[index];
    if (set === undefined || !isSameSet(set.data, data)) return false;
    return data.length === 0 || set.ttlSeconds === ttlSeconds;
  });
}

/** Undefined: nobody holds the name yet. @throws ERR_DNS_CONFLICT for a record that is not ours */
function parseMarker(sets: SeenSet[], name: string): Marker | undefined {
  const texts = sets.find(({ type }) => type === "TXT")?.data ?? [];
  const [text] = texts;
  if (text === undefined) return undefined;
  const match = /^ums=1;service=([^;]+);epoch=(\d+);at=([^;]*)$/.exec(text);
  const [, serviceId, epoch, addresses] = match ?? [];
  if (texts.length !== 1 || serviceId === undefined || addresses === undefined) {
    throw conflict(`the TXT record of ${markerName(name)} is not one of UMS`, name);
  }
  return { serviceId, epoch: Number(epoch), addresses: addresses.split(",").filter(Boolean) };
}

function checkMarker(
  marker: Marker | undefined,
  previous: readonly string[],
  { name, serviceId, epoch }: ClaimOptions,
): void {
  if (marker === undefined) return;
  if (marker.serviceId !== serviceId) {
    throw conflict(`${name} is held by another service (${marker.serviceId})`, name);
  }
  if (marker.epoch > epoch) {
    throw conflict(`${name} is held by a newer owner (epoch ${marker.epoch}, ours ${epoch})`, name);
  }
  if (!isSameSet(marker.addresses, previous)) {
    const shown = previous.length === 0 ? "no address" : previous.join(", ");
    const kept = marker.addresses.join(", ");
    throw conflict(`${name} shows ${shown}, where this service had put ${kept}`, name);
  }
}

function conflict(message: string, name: string): UmsError {
  return new UmsError("ERR_DNS_CONFLICT", message, {
    details: { name },
    hint: `if this service may take the name, delete the TXT record of ${markerName(name)}`,
  });
}
