/** Progress of a migration: a bar on a terminal, one line a phase elsewhere. */
import { SingleBar } from "cli-progress";
import type { ProgressView, ResultView } from "../migration/view.js";

export interface ProgressDisplay {
  show(progress: ProgressView): void;
  end(result: ResultView): void;
  close(): void;
}

/** @param output undefined: says nothing */
export function createProgressDisplay(output: NodeJS.WriteStream | undefined): ProgressDisplay {
  if (output === undefined) return { show: () => {}, end: () => {}, close: () => {} };
  return output.isTTY ? createBar(output) : createLines(output);
}

function createLines(output: NodeJS.WritableStream): ProgressDisplay {
  let shown = "";
  return {
    show({ phase, bytesSent, elapsedMs, doubt }) {
      const key = `${phase} ${doubt}`;
      if (key === shown) return;
      shown = key;
      output.write(`${seconds(elapsedMs)} ${phase} ${mebibytes(bytesSent)} sent\n`);
      if (doubt !== "") output.write(doubtLine(doubt));
    },
    end: (result) => void output.write(summary(result)),
    close: () => {},
  };
}

function createBar(output: NodeJS.WriteStream): ProgressDisplay {
  const bar = new SingleBar({
    stream: output,
    format: "{phase} [{bar}] {sent} of {size}, {rate}/s, {left} left, {elapsed}",
    hideCursor: true,
    barsize: 24,
  });
  bar.start(1, 0, { phase: "", sent: "", size: "", rate: "", left: "", elapsed: "" });
  let shownDoubt = "";
  return {
    show({ phase, bytesSent, bytesTotal, elapsedMs, doubt }) {
      if (doubt !== "" && doubt !== shownDoubt) output.write(`\n${doubtLine(doubt)}`);
      shownDoubt = doubt;
      const sizeBytes = Math.max(bytesTotal, bytesSent);
      const bytesPerMs = elapsedMs > 0 ? bytesSent / elapsedMs : 0;
      const leftMs = bytesPerMs > 0 ? (sizeBytes - bytesSent) / bytesPerMs : 0;
      bar.setTotal(Math.max(sizeBytes, 1));
      bar.update(bytesSent, {
        phase: phase.padEnd(10),
        sent: mebibytes(bytesSent),
        size: mebibytes(sizeBytes),
        rate: mebibytes(bytesPerMs * 1000),
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

function doubtLine(doubt: string): string {
  return `  handed over, but not confirmed: nobody runs the service (${doubt}); see \`ums status\`\n`;
}

function summary({ outcome, endpoint, totalMs, freezeMs, bytesSent, timingsMs }: ResultView) {
  if (outcome !== "moved") return "";
  const steps = Object.entries(timingsMs)
    .map(([step, ms]) => `  ${step.padEnd(24)} ${ms.toFixed(0).padStart(7)} ms\n`)
    .join("");
  const times = `total ${seconds(totalMs)}, frozen ${freezeMs.toFixed(0)} ms`;
  return `moved to ${endpoint}: ${times}, ${mebibytes(bytesSent)} sent\n${steps}`;
}

function mebibytes(bytes: number): string {
  return `${(bytes / 1024 ** 2).toFixed(1)} MiB`;
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(2)} s`;
}
