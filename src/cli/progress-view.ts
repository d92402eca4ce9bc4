/** Progress of a migration: a bar on a terminal, one line a phase elsewhere. */
import { SingleBar } from "cli-progress";
import type { Progress, Result } from "../gen/ums/migration/v1/migration.js";

export interface ProgressView {
  show(progress: Progress): void;
  end(result: Result): void;
  close(): void;
}

/** @param output undefined: says nothing */
export function createProgressView(output: NodeJS.WriteStream | undefined): ProgressView {
  if (output === undefined) return { show: () => {}, end: () => {}, close: () => {} };
  return output.isTTY ? createBarView(output) : createLineView(output);
}

function createLineView(output: NodeJS.WritableStream): ProgressView {
  let shownPhase = "";
  return {
    show({ phase, bytesSent, elapsedMs }) {
      if (phase === shownPhase) return;
      shownPhase = phase;
      output.write(`${seconds(elapsedMs)} ${phase} ${mebibytes(bytesSent)} sent\n`);
    },
    end: (result) => void output.write(summary(result)),
    close: () => {},
  };
}

function createBarView(output: NodeJS.WriteStream): ProgressView {
  const bar = new SingleBar({
    stream: output,
    format: "{phase} [{bar}] {sent} of {total}, {rate}/s, {left} left, {elapsed}",
    hideCursor: true,
    barsize: 24,
  });
  bar.start(1, 0, { phase: "", sent: "", total: "", rate: "", left: "", elapsed: "" });
  return {
    show({ phase, bytesSent, bytesTotal, elapsedMs }) {
      const total = BigInt(Math.max(Number(bytesTotal), Number(bytesSent)));
      const bytesPerSecond = elapsedMs > 0n ? (bytesSent * 1000n) / elapsedMs : 0n;
      const leftMs = bytesPerSecond > 0n ? ((total - bytesSent) * 1000n) / bytesPerSecond : 0n;
      bar.setTotal(Math.max(Number(total), 1));
      bar.update(Number(bytesSent), {
        phase: phase.padEnd(10),
        sent: mebibytes(bytesSent),
        total: mebibytes(total),
        rate: mebibytes(bytesPerSecond),
        left: seconds(leftMs),
        elapsed: seconds(elapsedMs),
      });
    },
    end(result) {
      bar.stop();
      output.write(summary(result));
    },
    close: () => bar.stop(),
  };
}

function summary({ outcome, endpoint, totalMs, freezeMs, bytesSent, timingsMs }: Result): string {
  if (outcome !== "moved") return "";
  const steps = Object.entries(timingsMs)
    .map(([step, ms]) => `  ${step.padEnd(24)} ${ms.toFixed(0).padStart(7)} ms\n`)
    .join("");
  const total = `total ${(totalMs / 1000).toFixed(2)} s, frozen ${freezeMs.toFixed(0)} ms`;
  return `moved to ${endpoint}: ${total}, ${mebibytes(bytesSent)} sent\n${steps}`;
}

function mebibytes(bytes: bigint): string {
  return `${(Number(bytes) / 1024 ** 2).toFixed(1)} MiB`;
}

function seconds(ms: bigint): string {
  return `${(Number(ms) / 1000).toFixed(2)} s`;
}
