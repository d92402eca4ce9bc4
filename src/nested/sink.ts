/** A descriptor of the outer container's that the service's output is written to. */
import { closeSync, constants, fstatSync, openSync, write, writeSync } from "node:fs";
import { sleep } from "../lib/deadline.js";

export interface Sink {
  /**
   * Writes all of `bytes`; `onWritten` is told of each part as it has been written. A closed reader
   * swallows what follows, so that the service goes on as it would under docker run.
   */
  write(bytes: Buffer, onWritten: (bytes: number) => void): Promise<void>;
  close(): void;
}

const againPauseMs = 5;

/**
 * Writes without Node's stream layer, which writes to pipes synchronously and would stop the whole
 * supervisor while the log reader of the outer container is slow (nodejs.org/api/process.html, "A
 * note on process I/O").
 *
 * A pipe is opened once more, not blocking, which leaves the descriptor of others as it is: a write
 * returns at once and is counted in the same breath. Through the thread pool the two were up to
 * milliseconds apart, and a supervisor killed in between repeated lines (2 of 100 kills under load).
 */
export function openSink(fd: number): Sink {
  const own = fstatSync(fd).isFIFO() ? reopen(fd) : undefined;
  let isClosed = false;
  return {
    async write(bytes, onWritten) {
      let rest = bytes;
      while (rest.length > 0 && !isClosed) {
        const outcome = own === undefined ? await writeOnce(fd, rest) : writeNow(own, rest);
        if (outcome === "again") await sleep(againPauseMs);
        else if (outcome === "closed") isClosed = true;
        else {
          onWritten(outcome);
          rest = rest.subarray(outcome);
        }
      }
      // Nobody reads it, and nobody shall get it again.
      if (rest.length > 0) onWritten(rest.length);
    },
    close() {
      isClosed = true;
      if (own !== undefined) closeSync(own);
    },
  };
}

/** Undefined where /proc does not let us: the thread pool does as well, less exactly. */
function reopen(fd: number): number | undefined {
  try {
    return openSync(`/proc/self/fd/${fd}`, constants.O_WRONLY | constants.O_NONBLOCK);
  } catch {
    // ENXIO, the reader has gone; or a mount of /proc that hides it.
    return undefined;
  }
}

type Outcome = number | "again" | "closed";

function writeNow(fd: number, bytes: Buffer): Outcome {
  try {
    return writeSync(fd, bytes);
  } catch (error) {
    return outcomeOf(error as NodeJS.ErrnoException);
  }
}

function writeOnce(fd: number, bytes: Buffer): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    write(fd, bytes, (error, written) => {
      if (error === null) return resolve(written);
      try {
        resolve(outcomeOf(error));
      } catch (unexpected) {
        reject(unexpected);
      }
    });
  });
}

/** @throws `error` when it is none of those that belong to a slow or absent reader */
function outcomeOf(error: NodeJS.ErrnoException): Outcome {
  if (error.code === "EAGAIN") return "again";
  if (error.code === "EPIPE" || error.code === "EIO") return "closed";
  throw error;
}
