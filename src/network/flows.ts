/**
 * The service's conversations, from the kernel's connection tracking (man 8 conntrack) and, for those
 * that nobody has said anything in since the service came, from what it brought (flow_marks).
 */
import { run } from "../lib/exec.js";
import type { Flow, Protocol } from "./ruleset.js";

/** Largest table that is read, bytes: about 400,000 entries. */
const maxTableBytes = 64 * 1024 * 1024;

/**
 * The TCP and UDP conversations that the service at `address` takes part in: those that came to
 * it through a published port or directly, and those it began itself.
 * @param exceptMark leaves out those with this mark of conntrack: of an inlet
 * @throws ERR_COMMAND_FAILED
 */
export async function listFlows(address: string, exceptMark?: number): Promise<Flow[]> {
  const flows = new Map<string, Flow>();
  const add = (flow: Flow) => flows.set(Object.values(flow).join(" "), flow);
  for (const flow of parseFlowMarks(await flowMarks(), exceptMark)) add(flow);
  // A conversation the service began has its address in the original direction, one that came to
  // it through a published port only in the reply direction.
  for (const direction of ["--orig-src", "--reply-src"]) {
    const table = await conntrack([direction, address]);
    for (const flow of parseConntrack(table, address, exceptMark)) add(flow);
  }
  return [...flows.values()];
}

/**
 * Reads `nft -j list map` of flow_marks: elements are pairs of a key, whose parts are protocol, remote
 * address and port and the service's port, and a mark.
 */
export function parseFlowMarks(json: string, exceptMark?: number): Flow[] {
  const { nftables } = JSON.parse(json) as { nftables: { map?: { elem?: FlowMark[] } }[] };
  const elements = nftables.flatMap(({ map }) => map?.elem ?? []);
  return elements
    .filter(([, mark]) => mark !== exceptMark)
    .map(([{ concat }]) => {
      const [protocol, remoteAddress, remotePort, servicePort] = concat;
      return { protocol, remoteAddress, remotePort, servicePort };
    });
}

type FlowMark = [{ concat: [Protocol, string, number, number] }, number];

async function flowMarks(): Promise<string> {
  const { stdout } = await run(["nft", "-j", "list", "map", "ip", "ums", "flow_marks"], {
    maxOutputBytes: maxTableBytes,
  });
  return stdout;
}

/** How many conversations carry `mark`: those that still need an inlet. @throws ERR_COMMAND_FAILED */
export async function countFlows(mark: number): Promise<number> {
  const table = await conntrack(["--mark", String(mark)]);
  return table.split("\n").filter((line) => line !== "" && !isFinished(line)).length;
}

/** The conversations of the service at `address` that carry `mark`. @throws ERR_COMMAND_FAILED */
export async function listMarkedFlows(address: string, mark: number): Promise<Flow[]> {
  return parseConntrack(await conntrack(["--mark", String(mark)]), address);
}

/**
 * Reads lines of `conntrack -L`: each has two tuples, the original direction and the reply.
 * Lines of other protocols, of other addresses, of finished TCP connections and with `exceptMark`
 * are left out.
 */
export function parseConntrack(table: string, address: string, exceptMark?: number): Flow[] {
  const lines = table.split("\n");
  const kept =
    exceptMark === undefined ? lines : lines.filter((line) => !isMarked(line, exceptMark));
  return kept.flatMap((line) => parseLine(line, address) ?? []);
}

function isMarked(line: string, mark: number): boolean {
  return new RegExp(` mark=${mark}(?:\\s|$)`).test(line);
}

interface Tuple {
  src: string;
  dst: string;
  sport: number;
  dport: number;
}

function parseLine(line: string, address: string): Flow | undefined {
  const protocol = /^(tcp|udp)\s/.exec(line)?.[1] as Protocol | undefined;
  if (protocol === undefined || isFinished(line)) return undefined;
  const [original, reply] = [...line.matchAll(tuplePattern)].map(toTuple);
  if (original === undefined || reply === undefined) return undefined;
  if (original.src === address) {
    const { dst: remoteAddress, dport: remotePort, sport: servicePort } = original;
    return { protocol, remoteAddress, remotePort, servicePort };
  }
  if (reply.src === address) {
    const { dst: remoteAddress, dport: remotePort, sport: servicePort } = reply;
    return { protocol, remoteAddress, remotePort, servicePort };
  }
  return undefined;
}

const tuplePattern = /src=(\S+) dst=(\S+) sport=(\d+) dport=(\d+)/g;

function toTuple(match: RegExpMatchArray): Tuple {
  const [, src = "", dst = "", sport, dport] = match;
  return { src, dst, sport: Number(sport), dport: Number(dport) };
}

/** TIME_WAIT and CLOSE: nobody sends in these any more. */
function isFinished(line: string): boolean {
  return / (TIME_WAIT|CLOSE) /.test(line);
}

async function conntrack(filter: readonly string[]): Promise<string> {
  const { stdout } = await run(["conntrack", "-L", "-f", "ipv4", ...filter], {
    maxOutputBytes: maxTableBytes,
  });
  return stdout;
}
