import type { Engine } from "../dockerd/engine.js";
import type { NetworkSpec } from "../spec.js";
import { bridgeName, networkName, ownLabel } from "./names.js";

/**
 * Makes sure that the inner network exists with exactly this subnet and gateway. One with other
 * addresses is left from an earlier service and is replaced.
 * @throws ERR_COMMAND_FAILED when the old one still has containers or the subnet is taken
 */
export async function ensureNetwork(engine: Engine, network: NetworkSpec): Promise<void> {
  const existing = await engine.inspectNetwork(networkName);
  if (existing !== undefined) {
    const config = existing.IPAM?.Config?.[0];
    if (config?.["Subnet"] === network.subnet && config?.["Gateway"] === network.gateway) return;
    await engine.removeNetwork(networkName);
  }
  await engine.createNetwork({
    name: networkName,
    subnet: network.subnet,
    gateway: network.gateway,
    bridge: bridgeName,
    labels: { [ownLabel]: "network" },
  });
}
