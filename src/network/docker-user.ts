/**
 * Lets our packets through Docker's FORWARD chain, which drops what it does not know. An accept
 * in a table of our own would not help: a packet needs the accept of every base chain. The chain
 * DOCKER-USER is the place Docker reserves for this; Docker evaluates it first and never flushes
 * it (docs.docker.com, "Packet filtering and firewalls").
 */
import { UmsError } from "../errors.js";
import { run } from "../lib/exec.js";
import { tunnelPrefix } from "./ruleset.js";

const chain = "DOCKER-USER";

/**
 * Accepts forwarded packets that come or go by a tunnel, and published connections to `address`.
 * Can be repeated, before and after dockerd's start.
 * @throws ERR_COMMAND_FAILED
 */
export async function acceptInDockerUser(address: string): Promise<void> {
  const rules = [
    ["-i", `${tunnelPrefix}+`, "-j", "ACCEPT"],
    ["-o", `${tunnelPrefix}+`, "-j", "ACCEPT"],
    ["-d", `${address}/32`, "-m", "conntrack", "--ctstate", "DNAT", "-j", "ACCEPT"],
  ];
  // dockerd keeps a chain that is there, and puts its jump to it first in FORWARD.
  if (!(await succeeds(["-n", "-L", chain]))) await iptables(["-N", chain]);
  if (!(await succeeds(["-C", "FORWARD", "-j", chain]))) {
    await iptables(["-I", "FORWARD", "-j", chain]);
  }
  for (const rule of rules) {
    if (!(await succeeds(["-C", chain, ...rule]))) await iptables(["-I", chain, ...rule]);
  }
}

async function iptables(args: readonly string[]): Promise<void> {
  // -w: wait for dockerd, which uses the same lock, at most 10 s.
  await run(["iptables", "-w", "10", ...args]);
}

async function succeeds(args: readonly string[]): Promise<boolean> {
  try {
    await iptables(args);
    return true;
  } catch (error) {
    // Exit 1 is iptables' answer for "no such chain" and "no such rule".
    if (error instanceof UmsError && error.details["exitCode"] === 1) return false;
    throw error;
  }
}
