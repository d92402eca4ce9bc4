/**
 * Network settings of this network namespace (kernel Documentation/networking/ip-sysctl.rst).
 * Synchronous on purpose: /proc/sys/net shows the namespace of the thread that opens the file.
 */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { UmsError } from "../errors.js";

/** A setting's value, or undefined where this kernel lacks it. `path` is below /proc/sys. */
export function readSysctl(path: string): string | undefined {
  const file = `/proc/sys/${path}`;
  return existsSync(file) ? readFileSync(file, "utf8").trim() : undefined;
}

/** Sets `path` unless it already has the value. @throws ERR_NETWORK_SETUP when it may not. */
export function writeSysctl(path: string, value: string): void {
  if (readSysctl(path) === value) return;
  try {
    writeFileSync(`/proc/sys/${path}`, value);
  } catch (cause) {
    throw new UmsError("ERR_NETWORK_SETUP", `cannot set ${path} to ${value}`, {
      cause,
      hint: "/proc/sys must be writable: run privileged, or with systempaths=unconfined",
    });
  }
}

/**
 * Settings of the namespace that the service's traffic needs: forwarding, and a conntrack that
 * does not call segments invalid because it missed some while they were relayed elsewhere
 * (an invalid packet is not translated back, and its receiver answers with a reset).
 */
export function prepareForwarding(): void {
  writeSysctl("net/ipv4/ip_forward", "1");
  if (readSysctl("net/netfilter/nf_conntrack_tcp_be_liberal") !== undefined) {
    writeSysctl("net/netfilter/nf_conntrack_tcp_be_liberal", "1");
  }
}

/**
 * Settings of one of our TUN devices: packets arrive there from addresses that are routed
 * elsewhere (rp_filter) or are this machine's own (accept_local), and may be answers to a
 * connection from 127.0.0.1 (route_localnet). No IPv6: the relay carries IPv4 only.
 */
export function prepareTunnelDevice(device: string): void {
  // The larger of `all` and the device's own counts; 2 accepts any source that has a route.
  const strictEverywhere = readSysctl("net/ipv4/conf/all/rp_filter") !== "0";
  writeSysctl(`net/ipv4/conf/${device}/rp_filter`, strictEverywhere ? "2" : "0");
  writeSysctl(`net/ipv4/conf/${device}/accept_local`, "1");
  acceptLoopbackAnswers(device);
  const withoutIpv6 = `net/ipv6/conf/${device}/disable_ipv6`;
  if (readSysctl(withoutIpv6) !== undefined) writeSysctl(withoutIpv6, "1");
}

/** Lets a connection from 127.0.0.1 leave by, and its answers arrive by, this interface. */
export function acceptLoopbackAnswers(device: string): void {
  writeSysctl(`net/ipv4/conf/${device}/route_localnet`, "1");
}
