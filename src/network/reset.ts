/** Ending TCP connections from the service's side, so that both ends are told at once. */
import { run } from "../lib/exec.js";
import type { Flow } from "./ruleset.js";

/** Keeps one call's argument list small. */
const flowsPerCall = 200;

/**
 * Closes the sockets of these conversations in the network namespace of process `pid`. The kernel
 * sends a reset to the other end; the service reads ECONNABORTED. UDP has nothing to close.
 *
 * ss(8) --kill needs CONFIG_INET_DIAG_DESTROY, which distributions set; without it nothing happens.
 * @returns how many conversations it was asked to end
 * @throws ERR_COMMAND_FAILED
 */
export async function resetFlows(pid: number, flows: readonly Flow[]): Promise<number> {
  const connections = flows.filter(({ protocol }) => protocol === "tcp");
  for (let start = 0; start < connections.length; start += flowsPerCall) {
    const filter = connections
      .slice(start, start + flowsPerCall)
      .map(expression)
      .join(" or ");
    await run([
      ...["nsenter", `--net=/proc/${pid}/ns/net`],
      ...["ss", "--kill", "--tcp", "--numeric", "--no-header", "state", "all", filter],
    ]);
  }
  return connections.length;
}

function expression({ remoteAddress, remotePort, servicePort }: Flow): string {
  return `( dst ${remoteAddress} and dport = :${remotePort} and sport = :${servicePort} )`;
}
