/** Policy routing: packets with a firewall mark take a routing table of their own (man 8 ip-rule). */
import { run } from "../lib/exec.js";
import { holdMark, maxInlets } from "./ruleset.js";

/** What tells one tunnel's packets from another's. */
export interface PolicyRoute {
  /** Firewall and conntrack mark. */
  mark: number;
  /** Routing table. */
  table: number;
  /** Place of the rule: after `local` (0), before `main` (32766). */
  priority: number;
}

const baseTable = 30_200;
const basePriority = 7_200;

/** The policy route of tunnel `index`: 0 is the hold's, 1 to 63 the inlets'. */
export function policyRoute(index: number): PolicyRoute {
  if (!Number.isInteger(index) || index < 0 || index > maxInlets) {
    throw new RangeError(`tunnel index ${index}`);
  }
  return { mark: holdMark + index, table: baseTable + index, priority: basePriority + index };
}

/**
 * Sends packets with the mark into `device`. If the device goes (its process has crashed) the
 * packets are dropped by the blackhole route that stays, instead of taking the main table to a
 * service that must not see them. Can be repeated.
 * @throws ERR_COMMAND_FAILED
 */
export async function addPolicyRoute(route: PolicyRoute, device: string): Promise<void> {
  const table = String(route.table);
  // Blackhole first: at no time may the rule lead to an empty table.
  await run(["ip", "-batch", "-"], {
    input: [
      `route replace blackhole default metric 1000 table ${table}`,
      `route replace default dev ${device} metric 10 table ${table}`,
      "",
    ].join("\n"),
  });
  if (await hasRule(route)) return;
  await run(["ip", "rule", "add", ...ruleSelector(route)]);
}

/** Removes the rule and the table's routes. Can be repeated. */
export async function removePolicyRoute(route: PolicyRoute): Promise<void> {
  if (await hasRule(route)) await run(["ip", "rule", "del", ...ruleSelector(route)]);
  // Flushing a table that was never used fails: there is nothing to remove then.
  const table = String(route.table);
  const { stdout } = await run(["ip", "-json", "route", "show", "table", "all"]);
  const routes = JSON.parse(stdout) as { table?: string }[];
  if (routes.some((entry) => entry.table === table)) {
    await run(["ip", "route", "flush", "table", table]);
  }
}

function ruleSelector(route: PolicyRoute): string[] {
  const { mark, table, priority } = route;
  return ["fwmark", String(mark), "lookup", String(table), "priority", String(priority)];
}

async function hasRule(route: PolicyRoute): Promise<boolean> {
  const { stdout } = await run(["ip", "-json", "rule", "show"]);
  const rules = JSON.parse(stdout) as { priority: number }[];
  return rules.some((rule) => rule.priority === route.priority);
}
