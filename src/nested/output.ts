import { existsSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { logFileCount } from "../dockerd/daemon-config.js";
import type { Engine } from "../dockerd/engine.js";
import { type OutputFrame, rawFrames, splitFrames } from "./frames.js";
import { type OutputPosition, openPosition, type PositionFile, start } from "./output-position.js";
import { openSink } from "./sink.js";

export interface OutputOptions {
  engine: Engine;
  containerId: string;
  isTty: boolean;
  /** File descriptors that stand for the service's stdout and stderr. */
  stdoutFd: number;
  stderrFd: number;
  /** Where the position is kept; tmpfs. */
  positionPath: string;
}

/**
 * The service's output on its way to the outer container's own stdout and stderr, byte for byte.
 *
 * Two sources. `copy` takes the stream of an attach made before the start: it has backpressure
 * and passes half a line at once. `resume` continues after the supervisor or dockerd was away,
 * when an attach would have a gap: it follows the engine's log and skips what was passed on
 * before. The log holds whole lines (16 KiB pieces of longer ones) and is bounded, so a reader
 * that is slower than the service for longer than the log's size loses the oldest part.
 */
export interface Output {
  /** Copies until the attached stream ends. */
  copy(attached: Readable): Promise<void>;
  /** Continues from the log until the container ends. */
  resume(): Promise<void>;
  /** The container has ended: no supervisor will go on with its output. */
  forget(): void;
  close(): void;
}

export function openOutput(options: OutputOptions): Output {
  const position = openPosition(options.positionPath, Date.now());
  const sinks = { stdout: openSink(options.stdoutFd), stderr: openSink(options.stderrFd) };

  async function pass(frames: AsyncIterable<OutputFrame>): Promise<void> {
    for await (const { stream, payload } of frames) {
      await sinks[stream].write(payload, (bytes) => position.advance(stream, bytes));
    }
  }

  return {
    async copy(attached) {
      position.reset(start(Date.now()));
      await pass(options.isTty ? rawFrames(attached) : splitFrames(attached));
    },
    async resume() {
      const from = await resumePoint(options, position);
      position.reset(from);
      const source = await options.engine.containerLogs(options.containerId, {
        sinceSeconds: from.anchorMs / 1000,
        follow: true,
      });
      const frames = options.isTty ? rawFrames(source) : splitFrames(source);
      const skip = { stdout: from.stdoutBytes, stderr: from.stderrBytes };
      await pass(skipBytes(frames, skip));
    },
    forget: () => rmSync(options.positionPath, { force: true }),
    close() {
      position.close();
      sinks.stdout.close();
      sinks.stderr.close();
    },
  };
}

/** Leaves out the first bytes of each stream. */
export async function* skipBytes(
  frames: AsyncIterable<OutputFrame>,
  counts: { stdout: number; stderr: number },
): AsyncGenerator<OutputFrame> {
  const left = { ...counts };
  for await (const { stream, payload } of frames) {
    const skipped = Math.min(left[stream], payload.length);
    left[stream] -= skipped;
    if (skipped < payload.length) yield { stream, payload: payload.subarray(skipped) };
  }
}

/**
 * Counting from the anchor is exact while the log still reaches back to it. Once its oldest file
 * has been dropped, the time of the last write is the best that is left.
 */
async function resumePoint(options: OutputOptions, file: PositionFile): Promise<OutputPosition> {
  const { dataRoot } = await options.engine.info();
  const logs = join(dataRoot, "containers", options.containerId, "local-logs");
  const isFull = existsSync(join(logs, `container.log.${logFileCount - 1}`));
  const position = file.position();
  return isFull ? start(position.lastWriteMs) : position;
}
