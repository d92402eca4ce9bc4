import { closeSync, existsSync, openSync, readFileSync, writeSync } from "node:fs";

/** How much of the service's output has been passed on since `anchorMs`. */
export interface OutputPosition {
  /** Wall clock, as the engine's log stamps use it. */
  anchorMs: number;
  stdoutBytes: number;
  stderrBytes: number;
  lastWriteMs: number;
}

const fieldCount = 4;

/**
 * Keeps the position in a file on tmpfs, so that the next supervisor continues the output where
 * this one was killed: a write of 32 bytes a chunk. It is advanced after the chunk was written; a
 * kill between the two, which are neighbours (sink.ts), repeats that chunk and never loses one.
 */
export interface PositionFile {
  position(): OutputPosition;
  reset(position: OutputPosition): void;
  advance(stream: "stdout" | "stderr", bytes: number): void;
  close(): void;
}

/** Opens the position of an earlier supervisor, or a new one at `nowMs`. */
export function openPosition(path: string, nowMs: number): PositionFile {
  let position = readPosition(path) ?? start(nowMs);
  const file = openSync(path, existsSync(path) ? "r+" : "w+", 0o600);
  const buffer = Buffer.alloc(fieldCount * 8);

  function write(): void {
    const { anchorMs, stdoutBytes, stderrBytes, lastWriteMs } = position;
    for (const [index, value] of [anchorMs, stdoutBytes, stderrBytes, lastWriteMs].entries()) {
      buffer.writeDoubleLE(value, index * 8);
    }
    writeSync(file, buffer, 0, buffer.length, 0);
  }

  write();
  return {
    position: () => position,
    reset(next) {
      position = next;
      write();
    },
    advance(stream, bytes) {
      position = {
        ...position,
        stdoutBytes: position.stdoutBytes + (stream === "stdout" ? bytes : 0),
        stderrBytes: position.stderrBytes + (stream === "stderr" ? bytes : 0),
        lastWriteMs: Date.now(),
      };
      write();
    },
    close: () => closeSync(file),
  };
}

export function start(nowMs: number): OutputPosition {
  return { anchorMs: nowMs, stdoutBytes: 0, stderrBytes: 0, lastWriteMs: nowMs };
}

function readPosition(path: string): OutputPosition | undefined {
  if (!existsSync(path)) return undefined;
  const buffer = readFileSync(path);
  if (buffer.length !== fieldCount * 8) return undefined;
  const [anchorMs = 0, stdoutBytes = 0, stderrBytes = 0, lastWriteMs = 0] = Array.from(
    { length: fieldCount },
    (_, index) => buffer.readDoubleLE(index * 8),
  );
  return { anchorMs, stdoutBytes, stderrBytes, lastWriteMs };
}
