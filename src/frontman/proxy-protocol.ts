/**
 * The PROXY protocol: a header ahead of a forwarded connection's bytes that names the client.
 * Specification: https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt, 2.1 and 2.2.
 */
import { isIPv4, isIPv6 } from "node:net";

export type ProxyVersion = "v1" | "v2";

/** One connection's ends, as the socket that accepted it names them. */
export interface Ends {
  sourceAddress: string;
  sourcePort: number;
  destinationAddress: string;
  destinationPort: number;
}

const signature = Buffer.from("\r\n\r\n\0\r\nQUIT\n", "latin1");
/** Version 2, command PROXY. */
const versionAndCommand = 0x21;
const tcpOverIpv4 = 0x11;
const tcpOverIpv6 = 0x21;
/** Family and protocol unspecified: the receiver keeps to the real connection. */
const unspecified = 0x00;

/** @param ends addresses of two families, or none, give a header that names nobody */
export function proxyHeader(version: ProxyVersion, ends: Ends): Buffer {
  const source = unmapped(ends.sourceAddress);
  const destination = unmapped(ends.destinationAddress);
  const ports = [ends.sourcePort, ends.destinationPort] as const;
  const family = [source, destination].every((address) => isIPv4(address))
    ? 4
    : [source, destination].every((address) => isIPv6(address))
      ? 6
      : undefined;
  if (version === "v1") {
    if (family === undefined) return Buffer.from("PROXY UNKNOWN\r\n");
    return Buffer.from(`PROXY TCP${family} ${source} ${destination} ${ports.join(" ")}\r\n`);
  }
  const addresses =
    family === undefined ? [] : [...addressBytes(source), ...addressBytes(destination)];
  const length = family === undefined ? 0 : addresses.length + 4;
  const header = Buffer.alloc(signature.length + 4 + length);
  signature.copy(header);
  header.writeUInt8(versionAndCommand, 12);
  header.writeUInt8(
    family === undefined ? unspecified : family === 4 ? tcpOverIpv4 : tcpOverIpv6,
    13,
  );
  header.writeUInt16BE(length, 14);
  if (family === undefined) return header;
  header.set(addresses, 16);
  header.writeUInt16BE(ports[0], 16 + addresses.length);
  header.writeUInt16BE(ports[1], 18 + addresses.length);
  return header;
}

/** A socket that takes both families names an IPv4 client `::ffff:192.0.2.1`. */
function unmapped(address: string): string {
  const match = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address);
  return match?.[1] ?? address;
}

function addressBytes(address: string): number[] {
  if (isIPv4(address)) return address.split(".").map(Number);
  const [head = "", tail] = (address.split("%")[0] ?? "").split("::");
  const words = (text: string) => text.split(":").filter((word) => word !== "");
  const first = words(head);
  const last = tail === undefined ? [] : words(tail);
  const zeroes = Array<string>(8 - first.length - last.length).fill("0");
  return [...first, ...zeroes, ...last].flatMap((word) => {
    const value = Number.parseInt(word, 16);
    return [value >> 8, value & 0xff];
  });
}
