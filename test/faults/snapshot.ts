/**
 * What there is in an outer container, in words that are the same for any healthy one in the same
 * role: container ids, addresses, counters and the flows of clients are left out.
 */
import { readFileSync } from "node:fs";
import type { Side } from "./side.js";

export interface Snapshot {
  /** Copies of the service, by the state of their cgroup's freezer. */
  running: number;
  frozen: number;
  /** One line for each thing that could be left over. */
  lines: string[];
}

/** One program for everything, because each entry into the container costs. From the root. */
const script = readFileSync("test/faults/snapshot.sh", "utf8");

/** @param peer address of the other side, whose connections to this one count */
export async function takeSnapshot(side: Side, peer: string): Promise<Snapshot> {
  const { stdout } = await side.enter(["sh", "-c", script]);
  const lines = stdout.split("\n");
  const own = ["mount", "file", "container", "link", "rule"].flatMap((kind) => ofKind(lines, kind));
  const { running, frozen } = copies(lines);
  return {
    running,
    frozen,
    lines: [
      ...own.map(normalise).filter((line) => !isOrdinary(line)),
      ...processes(lines),
      ...frozenGroups(lines),
      ...sockets(lines, peer),
      ...rules(lines),
    ].sort(),
  };
}

function ofKind(lines: readonly string[], kind: string): string[] {
  return lines.filter((line) => line.startsWith(`${kind} `));
}

function normalise(line: string): string {
  return line
    .replace(/[0-9a-f]{64}/g, "ID")
    .replace(/veth[0-9a-f]+/, "veth")
    .replace(/netns\/[0-9a-f]+/, "netns/ID");
}

/** There from the beginning, or harmless and counted elsewhere. */
function isOrdinary(line: string): boolean {
  return (
    / \/(proc|dev|sys|etc)(\/| )/.test(line) ||
    /^file \/var\/lib\/ums\/(journal|service\.json|spec[^/]*|images)/.test(line) ||
    // One inlet for each peer that relays, kept as long as the outer container lives.
    /^link ums-in\d|^rule 72\d\d:/.test(line) ||
    // CRIU's logs of failures are kept for the operator, a bounded number of them.
    /^file \/var\/lib\/ums\/logs/.test(line) ||
    // The matrix's own.
    line.startsWith("file /run/ums/faults")
  );
}

/** The outer container's own, the look at it, and the health check. */
const ownProcesses =
  /^(\/usr\/bin\/tini |\/bin\/sh \/usr\/local\/lib\/ums\/entrypoint\/ums-init|\/usr\/bin\/node |dockerd |containerd |sh -c|sleep |ums |node |\/bin\/sh \/usr\/local\/bin\/ums)/;

function processes(lines: readonly string[]): string[] {
  return ofKind(lines, "process")
    .map((line) => line.split(" ").slice(2).join(" "))
    .map((command) => command.trim())
    .filter((command) => command !== "" && !ownProcesses.test(command))
    .map((command) => command.replace(/^counter .*/, "counter"))
    .map((command) => `process ${/^\/usr\/bin\/containerd-shim/.test(command) ? "shim" : command}`);
}

function copies(lines: readonly string[]): { running: number; frozen: number } {
  const isService = new Map(
    ofKind(lines, "process").map((line) => {
      const [, pid = "", command = ""] = line.split(" ");
      return [pid, /^(counter|unsupported)$/.test(command)];
    }),
  );
  let running = 0;
  let frozen = 0;
  for (const line of ofKind(lines, "cgroup")) {
    const [, state, ...pids] = line.split(" ");
    const count = pids.filter((pid) => isService.get(pid)).length;
    if (state === "THAWED") running += count;
    else frozen += count;
  }
  return { running, frozen };
}

function frozenGroups(lines: readonly string[]): string[] {
  return ofKind(lines, "cgroup")
    .filter((line) => !line.startsWith("cgroup THAWED"))
    .map((line) => `frozen cgroup with ${line.split(" ").slice(2).filter(Boolean).length} pids`);
}

/** Connections between the two supervisors that are not ending by themselves. */
function sockets(lines: readonly string[], peer: string): string[] {
  return ofKind(lines, "socket")
    .map((line) => line.split(/\s+/))
    .filter(([, state = "", , , local = "", remote = ""]) => {
      const ends = `${local} ${remote}`.replaceAll(/\[::ffff:([\d.]+)\]/g, "$1");
      return /^(ESTAB|CLOSE-WAIT)$/.test(state) && ends.includes(peer) && /:975[02]/.test(ends);
    })
    .map(([, state, , , local = "", remote = ""]) =>
      /:975[02]$/.test(local)
        ? `socket ${state} in :${local.slice(-4)}`
        : `socket ${state} out :${remote.slice(-4)}`,
    );
}

/** The rules without counters, the engine's last "return", addresses of this side, what clients made of them, and inlets. */
function rules(lines: readonly string[]): string[] {
  const text = ofKind(lines, "nft")
    .map((line) => line.slice(4))
    .join("\n")
    .replace(/elements = \{[^}]*\. [^}]*\}/g, "elements = FLOWS")
    .replace(/0x756d73(0[1-9a-f]|[1-3][0-9a-f])(?!-|\d)/g, "MARK")
    // The engine's resolver on a network of its own, at ports of its choice.
    .replace(/127\.0\.0\.11(:\d+)?/g, "RESOLVER")
    .replace(/(sport) \d+ counter snat to :53/g, "$1 PORT counter snat to :53")
    .replace(/snat to \d+\.\d+\.\d+\.\d+/g, (match) =>
      match.includes("10.209.") ? match : "snat to OUTER",
    );
  return text
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => !/^$|elements = FLOWS|iifname "ums-in\d+"|^[{}]$|^counter return$/.test(line))
    .map((line) => `nft ${line}`);
}

/**
 * What one snapshot has that no healthy one in the same role has, and the other way round, for the
 * closest of the healthy ones.
 */
export function findLeftovers(snapshot: Snapshot, healthy: readonly Snapshot[]): string[] {
  const differences = healthy.map(({ lines }) => [
    ...without(snapshot.lines, lines).map((line) => `more: ${line}`),
    ...without(lines, snapshot.lines).map((line) => `less: ${line}`),
  ]);
  const more = (lines: readonly string[]) => lines.filter((line) => line.startsWith("more")).length;
  differences.sort((a, b) => more(a) - more(b) || a.length - b.length);
  return differences[0] ?? ["no healthy side is known"];
}

/** Multiset difference. */
function without(lines: readonly string[], others: readonly string[]): string[] {
  const rest = new Map<string, number>();
  for (const line of others) rest.set(line, (rest.get(line) ?? 0) + 1);
  return lines.filter((line) => {
    const left = rest.get(line) ?? 0;
    rest.set(line, left - 1);
    return left <= 0;
  });
}
