/**
 * Turns a CRIU log into what failed, which process or file, and what to do.
 *
 * runc reports every CRIU failure as "criu failed: type NOTIFY errno 0"; the cause is only in
 * dump.log or restore.log. The patterns are the messages of CRIU 4.2's sources.
 */
import { open } from "node:fs/promises";
import { UmsError } from "../errors.js";
import { isNotFound } from "../lib/files.js";
import { keepLog } from "./kept-logs.js";

export interface CriuFailure {
  /** One lower-case sentence. */
  message: string;
  /** What the operator can do. */
  hint: string | undefined;
  /** The log's lines that matter, oldest first. */
  logTail: string;
  /** The copy that is kept. */
  logPath: string;
}

interface Pattern {
  match: RegExp;
  message: (groups: string[]) => string;
  hint: string;
}

const patterns: Pattern[] = [
  {
    match: /anon_inode:\[io_uring\]|io_uring/,
    message: () => "the service has an io_uring instance open",
    // Node 24 opens one whatever UV_USE_IO_URING says (measured); Docker's default profile forbids it.
    hint: "CRIU cannot dump io_uring; run the service under the engine's default seccomp profile",
  },
  {
    match:
      /Can't dump half of stream unix connection|unix: (?:Can't dump|Unix socket (\S+)) .*external/i,
    message: () => "a unix socket of the service is connected to a process outside of it",
    hint: "close the connection to the outside socket (often a mounted docker.sock or a log socket)",
  },
  {
    match: /External socket is used|external socket is used/,
    message: () => "a unix socket of the service is connected to a process outside of it",
    hint: "close the connection to the outside socket (often a mounted docker.sock or a log socket)",
  },
  {
    match: /Can't dump file (\d+) of that type \[\d+\] \(([^)]*)\)/,
    message: ([fd, device]) =>
      `descriptor ${fd} of the service is a device CRIU knows not: ${device}`,
    hint: "close it in the service and migrate again",
  },
  {
    match: /Can't dump (?:file|mount|socket|fd)\s*(.*)$/i,
    message: ([what]) => `the service holds something CRIU cannot dump: ${what || "see the log"}`,
    hint: "close it in the service and migrate again",
  },
  {
    match: /Unsupported (?:file type|FS|fs|socket|proto|family)(.*)$/i,
    message: ([what]) => `the service uses something CRIU does not support:${what}`,
    hint: "close it in the service and migrate again",
  },
  {
    match: /(?:Task|Process|PID|pid)\s*(\d+).*(?:is a zombie|zombie)/i,
    message: ([pid]) => `process ${pid} of the service is a zombie that CRIU cannot dump`,
    hint: "let its parent reap it",
  },
  {
    match: /(?:File|file) (\S+) has bad (?:size|mode|build-ID)/,
    message: ([path]) => `file ${absolute(path)} differs between the two sides`,
    hint: "the destination's image or volume is not the source's; check the image digest",
  },
  {
    match: /Can't open file (\S+) .*No such file/,
    message: ([path]) => `file ${absolute(path)} is missing at the destination`,
    hint: "a file the service has open was not moved; is it on a mount that only the source has?",
  },
  {
    match: /CPU (?:capabilities|instruction|features).*(?:do not match|mismatch|lacks)/i,
    message: () => "the destination's processor lacks instructions the service uses",
    hint: "choose a destination whose CPU flags include the source's (`ums status --output json`)",
  },
  {
    match: /(?:Can't fork for|Pid) (\d+).*(?:File exists|EEXIST|already)/i,
    message: ([pid]) => `process id ${pid} is taken in the destination's container`,
    hint: "report this: the destination container must be empty before a restore",
  },
  {
    match: /No space left on device|ENOSPC/,
    message: () => "no room for the checkpoint",
    hint: "give the outer container more memory: checkpoints are held in tmpfs",
  },
  {
    match: /Operation not permitted|Permission denied/,
    message: () => "CRIU was not permitted to do what it must",
    hint: "run the outer container with --privileged or the capabilities list of the README",
  },
];

/** Logged where the hard limit is below fs.nr_open or /dev/net/tun is missing; no effect (measured). */
const harmless = /Can't setup RLIMIT_NOFILE for self|tun: Unable to create tun/;

const tailLines = 20;
const maxReadBytes = 256 * 1024;

/** Reads a log, keeps a copy and explains it; a missing log is explained as such and never thrown. */
export async function explainCriuLog(
  logPath: string,
  keptDirectory?: string,
): Promise<CriuFailure> {
  const log = await readTail(logPath);
  return { ...explainCriuText(log), logPath: await keepLog(logPath, keptDirectory) };
}

/** The error for a CRIU run that failed: `what` and the cause its log names, hint and log with it. */
export async function criuError(
  code: "ERR_CRIU_DUMP_FAILED" | "ERR_CRIU_RESTORE_FAILED",
  what: string,
  log: string,
  cause?: unknown,
): Promise<UmsError> {
  const { message, hint, logTail, logPath } = await explainCriuLog(log);
  return new UmsError(code, `${what} failed: ${message}`, {
    details: { logTail, logPath },
    ...(hint === undefined ? {} : { hint }),
    ...(cause === undefined ? {} : { cause }),
  });
}

/** Pure part of {@link explainCriuLog}. */
export function explainCriuText(log: string): Omit<CriuFailure, "logPath"> {
  const lines = log.split("\n").filter((line) => line.trim() !== "");
  const errors = lines.filter((line) => /\bError \(|\bError:/.test(line) && !harmless.test(line));
  // A zombie makes CRIU warn "Operation not permitted" and go on (measured): errors say more.
  const warnings = lines.filter((line) => /\bWarn\b/.test(line));
  for (const line of errors.length > 0 ? errors : warnings) {
    for (const pattern of patterns) {
      const found = pattern.match.exec(line);
      if (found === null) continue;
      const groups = found.slice(1).map((group) => group ?? "");
      return { message: pattern.message(groups), hint: pattern.hint, logTail: tail(lines, errors) };
    }
  }
  const first = errors[0]?.replace(/^\([\d.]+\)\s*/, "").trim();
  return {
    message: first === undefined ? "CRIU failed without naming a cause" : `CRIU: ${first}`,
    hint: undefined,
    logTail: tail(lines, errors),
  };
}

/** CRIU names files relative to the container's root, without the slash. */
function absolute(path = ""): string {
  return path.startsWith("/") ? path : `/${path}`;
}

/** Errors first: CRIU goes on logging its clean-up, which can push the cause out of the tail. */
function tail(lines: string[], errors: string[]): string {
  const last = errors.length > 0 ? errors : lines;
  return last.slice(-tailLines).join("\n");
}

async function readTail(path: string): Promise<string> {
  try {
    const file = await open(path, "r");
    try {
      const { size } = await file.stat();
      const lengthBytes = Math.min(size, maxReadBytes);
      const buffer = Buffer.alloc(lengthBytes);
      await file.read(buffer, 0, lengthBytes, size - lengthBytes);
      return buffer.toString("utf8");
    } finally {
      await file.close();
    }
  } catch (error) {
    if (isNotFound(error)) return "";
    throw error;
  }
}
