/**
 * TCP connections that are being made when the freeze comes. CRIU knows only established and
 * accepted ones: a half-open one would be gone at the destination, and its client reset.
 */
import { readFile } from "node:fs/promises";
import { sleep } from "../../lib/deadline.js";
import { isNotFound } from "../../lib/files.js";

/** Handshakes take a round trip, an accept the time the service takes; measured 0 to 5 ms. */
const patienceMs = 500;
const intervalMs = 2;

/**
 * Waits until no connection of the process's network namespace is half open or unaccepted. Gives up
 * without an error: a request whose client is gone never completes, and for an unaccepted
 * connection CRIU refuses the dump by itself.
 */
export async function untilConnected(pid: number, signal: AbortSignal): Promise<void> {
  const endMs = performance.now() + patienceMs;
  while ((await countUnfinished(pid)) > 0 && performance.now() < endMs) {
    await sleep(intervalMs, signal);
  }
}

async function countUnfinished(pid: number): Promise<number> {
  const tables = await Promise.all(
    ["tcp", "tcp6"].map((name) => readTable(`/proc/${pid}/net/${name}`)),
  );
  return tables.reduce((sum, table) => sum + unfinishedIn(table), 0);
}

/**
 * Half-open and unaccepted connections in a /proc/PID/net/tcp (kernel networking/proc_net_tcp.rst).
 * State 03 is SYN_RECV; of a listener (0A) `rx_queue` is the number waiting to be accepted.
 */
export function unfinishedIn(table: string): number {
  let count = 0;
  for (const line of table.split("\n").slice(1)) {
    const [, , , state, queues] = line.trim().split(/\s+/);
    if (state === "03") count += 1;
    if (state === "0A") count += Number.parseInt(queues?.split(":")[1] ?? "0", 16);
  }
  return count;
}

async function readTable(path: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    // No IPv6, or the process has ended; the freeze will tell.
    if (isNotFound(error)) return "";
    throw error;
  }
}
