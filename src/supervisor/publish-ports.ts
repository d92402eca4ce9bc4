import { networkInterfaces } from "node:os";
import type { Config } from "../config.js";
import { UmsError } from "../errors.js";
import { bridgeName } from "../nested/names.js";
import { openPublish } from "../network/publish.js";
import { openRules, type Rules } from "../network/rules.js";
import type { Port } from "../network/ruleset.js";
import type { NetworkSpec } from "../spec.js";

export interface Publisher {
  /**
   * Passes the outer container's ports, but for the supervisor's own, on to the service.
   * @param exposedPorts as an image lists them, e.g. `6379/tcp`; reached from inside the outer
   *   container too
   * @returns the rules, which a migration holds and releases
   */
  publish(network: NetworkSpec, exposedPorts: readonly string[]): Promise<Rules>;
  /** Undefined before the first `publish`. */
  rules(): Rules | undefined;
  close(): Promise<void>;
}

export function createPublisher(config: Config): Publisher {
  let rules: Rules | undefined;
  return {
    async publish(network, exposedPorts) {
      rules ??= await openRules({
        address: network.address,
        bridge: bridgeName,
        outerAddress: outerAddress(),
      });
      const excluded = [config.UMS_PEER_PORT, config.UMS_HTTP_PORT, config.UMS_DATA_PORT].map(
        (port): Port => ({ protocol: "tcp", port }),
      );
      await openPublish({ rules, excluded, local: exposedPorts.flatMap(parsePort) });
      return rules;
    },
    rules: () => rules,
    async close() {
      await rules?.close();
    },
  };
}

/** Our own first IPv4 address that is neither loopback nor on a bridge or tunnel of ours. */
export function outerAddress(): string {
  for (const [name, addresses = []] of Object.entries(networkInterfaces())) {
    if (name.startsWith("ums")) continue;
    const own = addresses.find(({ family, internal }) => family === "IPv4" && !internal);
    if (own !== undefined) return own.address;
  }
  throw new UmsError("ERR_NETWORK_SETUP", "the outer container has no IPv4 address");
}

/** SCTP, the third protocol an image may list, is not passed on. */
function parsePort(exposed: string): Port[] {
  const [port, protocol = "tcp"] = exposed.split("/");
  return protocol === "tcp" || protocol === "udp" ? [{ protocol, port: Number(port) }] : [];
}
