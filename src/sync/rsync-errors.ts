/** rsync's exit codes and messages in our words. Pure. */
import { type ErrorCode, UmsError } from "../errors.js";
import type { SyncPass } from "./tree.js";

export interface RsyncOutcome {
  /** Null when a signal ended it. */
  exitCode: number | null;
  /** Last part of what it wrote to stderr (sender) or its log (receiver). */
  messages: string;
}

/** man rsync, "EXIT VALUES". */
const exitSentences: Record<number, string> = {
  1: "syntax or usage error",
  2: "the two rsync versions do not understand each other",
  3: "a directory could not be opened",
  4: "an option was refused by the destination",
  5: "the destination refused the connection",
  10: "error in socket input or output",
  11: "error in file input or output",
  12: "the data stream ended early",
  13: "error in program diagnostics",
  14: "error between the rsync processes",
  20: "ended by a signal",
  22: "out of memory",
  23: "some files or attributes could not be transferred",
  24: "some files vanished while they were read",
  25: "the limit on deletions was reached",
  30: "no data for too long",
  35: "no connection within the time limit",
};

const exitSocket = 10;
const exitStream = 12;
const exitPartial = 23;
const exitVanished = 24;
const exitTimeout = 30;
const exitConnectTimeout = 35;

/**
 * What a file that changes, shrinks or vanishes while it is read makes rsync say. Anything else
 * beside exit code 23 (an attribute the destination cannot store, say) would meet the final pass
 * as well, so it is an error at once, while the service still runs undisturbed.
 */
const liveMessages = [
  /^(file|directory) has vanished: /,
  /^(WARNING|ERROR): .* failed verification/,
  /^rsync: .*read errors mapping .*: No data available \(61\)/,
  /^IO error encountered -- skipping file deletion/,
  /^rsync (error|warning): /,
];

/** Undefined when the pass did its work. */
export function rsyncFailure(
  tree: string,
  pass: SyncPass,
  outcome: RsyncOutcome,
): UmsError | undefined {
  const { exitCode, messages } = outcome;
  if (exitCode === 0) return undefined;
  const lines = messages.split("\n").filter((line) => line.trim() !== "");
  if (pass === "live") {
    if (exitCode === exitVanished) return undefined;
    const isOnlyMotion = lines.every((line) => liveMessages.some((form) => form.test(line)));
    if (exitCode === exitPartial && isOnlyMotion) return undefined;
  }
  const code = failureCode(exitCode, messages);
  const sentence = exitSentences[exitCode ?? exitStream] ?? `rsync exited with ${exitCode}`;
  const told = lines.find((line) => !uninformative.test(line));
  return new UmsError(
    code,
    `synchronizing ${tree} failed: ${code === "ERR_NO_ROOM" ? "the destination is full" : sentence}` +
      `${told === undefined ? "" : ` (${told.trim()})`}`,
    { details: { tree, pass, exitCode, messages } },
  );
}

/** rsync's closing line, and what a daemon logs of every connection. */
const uninformative = /^(rsync (error|warning): |connect from |rsync to |receiving file list)/;

function failureCode(exitCode: number | null, messages: string): ErrorCode {
  if (/No space left on device|Disk quota exceeded/.test(messages)) return "ERR_NO_ROOM";
  if (exitCode === exitTimeout || exitCode === exitConnectTimeout) return "ERR_DEADLINE";
  if (exitCode === exitStream || exitCode === exitSocket) return "ERR_TRANSFER_SHORT";
  return "ERR_SYNC_FAILED";
}
