/**
 * Source side of file synchronization: rsync against a daemon at the other end of a stream that is
 * given to us. rsync connects to a loopback port whose one connection is relayed into the stream.
 * (rsync's `-e` needs no port but then waits for that helper in sleeps of 20 ms at the end, and
 * the freeze with it; measured.)
 */
import type { ChildProcess } from "node:child_process";
import { randomBytes } from "node:crypto";
import { lstat } from "node:fs/promises";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { join } from "node:path";
import type { Duplex } from "node:stream";
import { UmsError } from "../errors.js";
import { start, toolEnvironment } from "../lib/exec.js";
import { filesChangedSince } from "./changed-files.js";
import { readReady, syncVersion, writeLine } from "./handshake.js";
import { rsyncFailure } from "./rsync-errors.js";
import { type SenderMode, senderArgv } from "./rsync-options.js";
import { collectText, exitOf } from "./rsync-process.js";
import { type StopSignal, stopSignal, untilStopped } from "./stop-signal.js";
import { untilEnded } from "./stream-end.js";
import { type FileTree, type OpenStream, type SyncPass, treeStreamName } from "./tree.js";

export interface SyncOptions {
  pass: SyncPass;
  /**
   * Paths relative to the tree that are neither sent nor touched at the destination. Trees mounted
   * inside this one must be named here, or they are copied twice.
   */
  excludes?: readonly string[];
  signal?: AbortSignal;
  /** For the preparation and for the run, each. */
  timeoutMs: number;
  /** Called at most four times a second, and never after the pass has ended. */
  onProgress?: (bytesSent: number) => void;
}

export interface RunOptions {
  /**
   * Final pass: files to compare by content because size and mtime may lie, relative to the tree:
   * what `mapped-files.ts` found before the first live pass and after the freeze. Names that do
   * not exist are ignored.
   */
  alwaysCompare?: readonly string[];
  /**
   * Final pass: start of the first live pass, `startedAtMs` of its result. Files whose inode
   * changed since are compared by content too: mtime can be set back, and can be the same for two
   * writes in one tick of the kernel's clock (up to 10 ms before the multigrain timestamps of
   * kernel 6.13).
   */
  changedSinceMs?: number;
}

export interface SyncResult {
  /** Bytes put into the streams. */
  bytesSent: number;
  /** Regular files, directories, links and nodes that were sent or updated. */
  files: number;
  ms: number;
  /** Wall clock, milliseconds since the epoch. */
  startedAtMs: number;
}

export interface PreparedSync {
  /** Does the pass; once. @throws as {@link syncTree} */
  run(options?: RunOptions): Promise<SyncResult>;
  /** Ends what was not used. Idempotent; resolves when nothing is left. */
  close(): Promise<void>;
}

/**
 * Makes the peer's copy of `tree` equal to ours: content, names, deletions, hard links, ownership
 * by number, ACLs, extended attributes, devices (overlay whiteouts too), mtimes to the nanosecond.
 * A live pass leaves files that changed while they were read to the final pass.
 * @throws ERR_NO_ROOM, ERR_TRANSFER_SHORT when the stream is cut, ERR_DEADLINE, ERR_CANCELLED,
 *   ERR_SYNC_FAILED with rsync's reason otherwise
 */
export async function syncTree(
  tree: FileTree,
  openStream: OpenStream,
  options: SyncOptions & RunOptions,
): Promise<SyncResult> {
  const prepared = await prepareSync(tree, openStream, options);
  try {
    return await prepared.run(options);
  } finally {
    await prepared.close();
  }
}

/**
 * Does what can be done before the freeze: opens the stream, starts both rsyncs, authenticates.
 * `run` then costs the walk of the tree and the differences only, and must begin within
 * `timeoutMs`; the receiver's own limit covers the wait too. 1,000 unchanged files: 13 to 20 ms
 * prepared, 40 ms otherwise; 20,000: 210 ms (loopback, 2 cores, measured).
 */
export async function prepareSync(
  tree: FileTree,
  openStream: OpenStream,
  options: SyncOptions,
): Promise<PreparedSync> {
  const stop = stopSignal(
    options.timeoutMs,
    `preparing to synchronize ${tree.name}`,
    options.signal,
  );
  const modes: ("mirror" | "compare")[] =
    options.pass === "final" ? ["mirror", "compare"] : ["mirror"];
  const opened = await Promise.allSettled(
    modes.map((mode) => openConnection(tree, openStream, mode, options, stop.signal)),
  );
  stop.release();
  const connections = opened.flatMap((one) => (one.status === "fulfilled" ? [one.value] : []));
  const failed = opened.find((one) => one.status === "rejected");
  const [mirror, compare] = connections;
  if (failed !== undefined || mirror === undefined) {
    await Promise.all(connections.map((connection) => connection.close()));
    throw failed?.reason ?? new UmsError("ERR_INTERNAL", "no stream was opened");
  }
  return {
    run: (runOptions = {}) => runPass(tree, mirror, compare, options, runOptions),
    close: async () => {
      await Promise.all(connections.map((connection) => connection.close()));
    },
  };
}

async function runPass(
  tree: FileTree,
  mirror: Connection,
  compare: Connection | undefined,
  options: SyncOptions,
  runOptions: RunOptions,
): Promise<SyncResult> {
  const startedAtMs = Date.now();
  const startMs = performance.now();
  const stop = stopSignal(options.timeoutMs, `synchronizing ${tree.name}`, options.signal);
  const used = compare === undefined ? [mirror] : [mirror, compare];
  const bytesSent = () => used.reduce((sum, connection) => sum + connection.bytesSent(), 0);
  const timer = setInterval(() => options.onProgress?.(bytesSent()), 250);
  try {
    const [doubtful, sent] = await Promise.all([
      compare === undefined ? [] : doubtfulFiles(tree, options, runOptions, stop.signal),
      mirror.finish(["./"], options.pass, stop),
    ]);
    const compared = new Set(sent);
    const left = doubtful.filter((name) => !compared.has(name));
    if (left.length > 0) await compare?.finish(left, options.pass, stop);
    const ms = performance.now() - startMs;
    return { bytesSent: bytesSent(), files: sent.length, ms, startedAtMs };
  } catch (error) {
    throw stop.signal.aborted ? stop.signal.reason : UmsError.from(error);
  } finally {
    clearInterval(timer);
    stop.release();
  }
}

/** Existing regular files whose size and mtime do not prove that their content is the same. */
async function doubtfulFiles(
  tree: FileTree,
  options: SyncOptions,
  { alwaysCompare = [], changedSinceMs }: RunOptions,
  signal: AbortSignal,
): Promise<string[]> {
  const changed =
    changedSinceMs === undefined ? [] : await filesChangedSince(tree.path, changedSinceMs, signal);
  const existing = await Promise.all(
    alwaysCompare.map(async (name) => {
      const stats = await lstat(join(tree.path, name)).catch(() => undefined);
      return stats?.isFile() === true ? [name] : [];
    }),
  );
  const excludes = (options.excludes ?? []).map((path) => path.replace(/^\/+|\/+$/g, ""));
  return [...new Set([...changed, ...existing.flat()])].filter(
    (name) => !excludes.some((path) => name === path || name.startsWith(`${path}/`)),
  );
}

/** One rsync waiting for its list of files. */
interface Connection {
  /** Gives it the list and waits for its end; returns the names it sent. */
  finish(list: readonly string[], pass: SyncPass, stop: StopSignal): Promise<string[]>;
  bytesSent(): number;
  close(): Promise<void>;
}

async function openConnection(
  tree: FileTree,
  openStream: OpenStream,
  wanted: "mirror" | "compare",
  options: SyncOptions,
  signal: AbortSignal,
): Promise<Connection> {
  const stream = await untilStopped(signal, openLate(openStream(treeStreamName(tree)), signal));
  const secret = randomBytes(24).toString("hex");
  try {
    writeLine(stream, { version: syncVersion, tree: tree.name, pass: options.pass, secret });
    const { isLinkFree } = await readReady(stream, signal);
    const mode: SenderMode =
      wanted === "mirror" && options.pass === "final" && isLinkFree ? "mirror-in-place" : wanted;
    const relay = await openRelay(stream);
    const child = start(
      senderArgv({
        tree,
        mode,
        port: relay.port,
        excludes: options.excludes ?? [],
        // Silence before the list is given counts as well.
        timeoutSeconds: Math.ceil((2 * options.timeoutMs) / 1_000),
      }),
      { stdio: ["pipe", "pipe", "pipe"], env: { ...toolEnvironment, RSYNC_PASSWORD: secret } },
    );
    return rsyncConnection(tree, stream, relay, child);
  } catch (error) {
    stream.destroy();
    throw error;
  }
}

/** A stream that arrives after we have stopped waiting for it is closed again. */
async function openLate(opening: Promise<Duplex>, signal: AbortSignal): Promise<Duplex> {
  const stream = await opening;
  if (signal.aborted) stream.destroy();
  // Errors show as the end of the data, which rsync reports; unheard they would end the process.
  stream.on("error", () => {});
  return stream;
}

function rsyncConnection(
  tree: FileTree,
  stream: Duplex,
  relay: Relay,
  child: ChildProcess,
): Connection {
  const { stdin, stdout, stderr } = child;
  if (stdin === null || stdout === null || stderr === null) throw new TypeError("no pipes");
  const killer = new AbortController();
  const messages = collectText(stderr);
  const names = collectNames(stdout);
  const exit = exitOf(child, killer.signal).finally(() => relay.close());
  // The outcome may come long before someone waits for it; it is kept, not unhandled.
  exit.catch(() => {});
  // EPIPE: rsync ended without reading the list; its exit code tells why.
  stdin.on("error", () => {});
  const kill = () => {
    killer.abort();
    stream.destroy();
  };
  let isUsed = false;
  return {
    bytesSent: relay.bytesSent,
    async finish(list, pass, stop) {
      isUsed = true;
      stdin.end(list.map((name) => `${name}\0`).join(""));
      if (stop.signal.aborted) kill();
      else stop.signal.addEventListener("abort", kill, { once: true });
      const exitCode = await exit;
      stop.signal.removeEventListener("abort", kill);
      if (stop.signal.aborted) throw stop.signal.reason;
      const failure = rsyncFailure(tree.name, pass, { exitCode, messages: messages() });
      if (failure !== undefined) throw failure;
      return names();
    },
    close: async () => {
      // An empty list ends an unused one in order, so that the peer sees no error.
      if (!isUsed) stdin.end();
      const timer = setTimeout(kill, goodbyeMs);
      await exit.catch(() => {
        // It never started: there is nothing to end.
      });
      await untilEnded(stream, killer.signal);
      clearTimeout(timer);
      kill();
    },
  };
}

/** For an rsync without work, and for the last bytes of one that has ended, milliseconds. */
const goodbyeMs = 2_000;

/**
 * The names of `--out-format=%n`, one a line; directories end in a slash. rsync writes bytes it
 * holds unprintable as `\#ooo` (man rsync, --8-bit-output).
 */
function collectNames(stdout: NodeJS.ReadableStream): () => string[] {
  const names: string[] = [];
  let rest = "";
  stdout.setEncoding("latin1");
  stdout.on("data", (chunk: string) => {
    const lines = (rest + chunk).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) names.push(decodeName(line));
  });
  return () => names;
}

function decodeName(line: string): string {
  const bytes = line.replace(/\\#([0-7]{3})/g, (_, octal: string) =>
    String.fromCharCode(Number.parseInt(octal, 8)),
  );
  return Buffer.from(bytes, "latin1").toString("utf8");
}

interface Relay {
  port: number;
  bytesSent(): number;
  close(): void;
}

/** Listens on loopback for exactly one connection and joins it to the stream. */
async function openRelay(stream: Duplex): Promise<Relay> {
  let socket: Socket | undefined;
  const server: Server = createServer({ allowHalfOpen: true, noDelay: true }, (accepted) => {
    server.close();
    socket = accepted;
    // An error on either side shows to the other as the end of the data.
    accepted.on("error", () => stream.destroy());
    stream.on("close", () => accepted.destroy());
    accepted.pipe(stream);
    stream.pipe(accepted);
  });
  server.maxConnections = 1;
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(0, "127.0.0.1", resolve);
  });
  return {
    port: (server.address() as AddressInfo).port,
    bytesSent: () => socket?.bytesRead ?? 0,
    close: () => {
      server.close();
    },
  };
}
