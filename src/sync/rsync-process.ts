/** Life of one rsync process: its end, and the last of what it said. */
import type { ChildProcess } from "node:child_process";
import type { Readable } from "node:stream";
import { UmsError } from "../errors.js";

/** rsync repeats itself a line a file when something is wrong with many; the ends tell enough. */
const maxMessageChars = 16_384;

/**
 * Resolves with the exit code, null after a signal, once the program has ended and its output is
 * read. SIGKILL when `signal` aborts: rsync leaves nothing that a later pass does not repair.
 * @throws ERR_SYNC_FAILED when it cannot be started
 */
export function exitOf(child: ChildProcess, signal: AbortSignal): Promise<number | null> {
  return new Promise((resolve, reject) => {
    const kill = () => child.kill("SIGKILL");
    if (signal.aborted) kill();
    else signal.addEventListener("abort", kill, { once: true });
    child.once("error", (cause) =>
      reject(new UmsError("ERR_SYNC_FAILED", `rsync: ${cause.message}`, { cause })),
    );
    child.once("close", (code) => {
      signal.removeEventListener("abort", kill);
      resolve(code);
    });
  });
}

/** Collects text from now on; returns the start and the end of it when there is too much. */
export function collectText(stream: Readable): () => string {
  let head = "";
  let tail = "";
  stream.setEncoding("utf8");
  stream.on("data", (chunk: string) => {
    const room = maxMessageChars - head.length;
    head += chunk.slice(0, room);
    tail = (tail + chunk.slice(room)).slice(-maxMessageChars);
  });
  return () => head + tail;
}
