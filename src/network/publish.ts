/** Port publishing: who reaches the outer container's address reaches the service. */
import { acceptInDockerUser } from "./docker-user.js";
import type { Rules } from "./rules.js";
import type { Port } from "./ruleset.js";
import { acceptLoopbackAnswers, prepareForwarding } from "./sysctl.js";

export interface PublishOptions {
  rules: Rules;
  /** The outer container's own ports (Migration Interface, HTTP). Never passed on. */
  excluded: readonly Port[];
  /**
   * The service's exposed ports, passed on also for connections from inside the outer container
   * (127.0.0.1 or its own address), for example an exec probe. Default none.
   */
  local?: readonly Port[];
  /** Interfaces that publish nothing, besides loopback, bridge and tunnels. Default docker0. */
  ignoredInterfaces?: readonly string[];
}

export interface Publish {
  /** Stops publishing. Connections that exist go on: conntrack remembers their translation. */
  close(): Promise<void>;
}

/**
 * Passes every TCP and UDP port of the outer container's IPv4 addresses on to the service, as if
 * the service ran in the outer container itself; it sees the client's own address. Calling it
 * again replaces the lists.
 * @throws ERR_NETWORK_SETUP, ERR_COMMAND_FAILED (iptables)
 */
export async function openPublish(options: PublishOptions): Promise<Publish> {
  const { rules, excluded, local = [], ignoredInterfaces = ["docker0"] } = options;
  prepareForwarding();
  acceptLoopbackAnswers(rules.network.bridge);
  await acceptInDockerUser(rules.network.address);
  await rules.setPublish({ excluded, local, ignoredInterfaces });
  return { close: () => rules.setPublish(undefined) };
}
