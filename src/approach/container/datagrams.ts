/**
 * UDP datagrams that have arrived but are not read when the freeze comes. CRIU does not dump the
 * receive queue of a UDP socket: what lies in it is lost.
 */
import { readFile } from "node:fs/promises";
import { sleep } from "../../lib/deadline.js";
import { isNotFound } from "../../lib/files.js";

/** The service is given this long after the last sign of reading, and in all. Already held. */
const patienceMs = 20;
const limitMs = 200;
const intervalMs = 1;

/**
 * Waits until the service has read its UDP sockets; nothing may come in any more. Gives up without
 * an error when it reads no further: a socket that nobody reads would cost every migration the
 * limit.
 *
 * @param queuedBytes in the receive queues now; {@link queuedDatagramBytes}
 */
export async function untilRead(
  queuedBytes: () => Promise<number>,
  signal?: AbortSignal,
): Promise<void> {
  const endMs = performance.now() + limitMs;
  let left = await queuedBytes();
  let progressMs = performance.now();
  while (left > 0) {
    await sleep(intervalMs, signal);
    const nowMs = performance.now();
    const bytes = await queuedBytes();
    if (bytes < left) progressMs = nowMs;
    left = bytes;
    if (nowMs >= endMs || nowMs - progressMs >= patienceMs) return;
  }
}

/** Bytes that wait in the UDP sockets of the process's network namespace. */
export async function queuedDatagramBytes(pid: number): Promise<number> {
  const tables = await Promise.all(
    ["udp", "udp6"].map((name) => readTable(`/proc/${pid}/net/${name}`)),
  );
  return tables.reduce((sum, table) => sum + queuedIn(table), 0);
}

/** Sum of `rx_queue` of a /proc/PID/net/udp, whose columns are those of tcp. */
export function queuedIn(table: string): number {
  let bytes = 0;
  for (const line of table.split("\n").slice(1)) {
    const [, , , , queues] = line.trim().split(/\s+/);
    bytes += Number.parseInt(queues?.split(":")[1] ?? "0", 16);
  }
  return bytes;
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
