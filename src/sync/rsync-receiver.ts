/**
 * Destination side of file synchronization: an rsync daemon for one connection, confined to one
 * tree, behind a stream that is given to us.
 */
import { mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Duplex } from "node:stream";
import { UmsError } from "../errors.js";
import { run, start } from "../lib/exec.js";
import { hasHardLinks } from "./changed-files.js";
import { readHello, type SyncHello, syncVersion, writeLine } from "./handshake.js";
import { rsyncFailure } from "./rsync-errors.js";
import { daemonConfig, rsyncUser } from "./rsync-options.js";
import { exitOf } from "./rsync-process.js";
import { stopSignal } from "./stop-signal.js";
import { untilEnded } from "./stream-end.js";
import type { FileTree } from "./tree.js";

export interface TreeReceiverOptions {
  /** Private directory (0700) for configuration and secrets while a daemon runs. */
  runDirectory: string;
  /** Longest life of one pass. */
  timeoutMs: number;
  signal?: AbortSignal;
}

export interface TreeReceiver {
  /**
   * Serves one stream the sender opened; resolves when the pass is applied and the stream closed.
   * @throws ERR_NO_ROOM, ERR_TRANSFER_SHORT, ERR_DEADLINE, ERR_CANCELLED, ERR_FRAME_INVALID,
   *   ERR_PEER_VERSION, ERR_SYNC_FAILED. The sender learns the cause from its own rsync.
   */
  receive(stream: Duplex): Promise<void>;
  /** Ends running daemons and waits for them. */
  close(): Promise<void>;
}

/**
 * Receives one tree. Nothing else may write to `tree.path` meanwhile. Several streams may be open
 * at once: a final pass is prepared on two.
 */
export function createTreeReceiver(tree: FileTree, options: TreeReceiverOptions): TreeReceiver {
  const closing = new AbortController();
  const running = new Set<Promise<void>>();
  // Known only after a live pass has been received: then no one looks under the freeze.
  let linkFree: Promise<boolean> = Promise.resolve(false);

  async function receive(stream: Duplex): Promise<void> {
    const callers = [closing.signal, ...(options.signal === undefined ? [] : [options.signal])];
    const stop = stopSignal(options.timeoutMs, `receiving ${tree.name}`, AbortSignal.any(callers));
    // Errors show as the end of the data, which rsync reports; unheard they would end the process.
    stream.on("error", () => {});
    try {
      const hello = await readHello(stream, stop.signal);
      if (hello.tree !== tree.name) {
        throw new UmsError("ERR_FRAME_INVALID", `a stream for another tree: ${hello.tree}`);
      }
      const isLinkFree = hello.pass === "final" && (await linkFree);
      const served = serve(tree, stream, hello, isLinkFree, options, stop.signal);
      if (hello.pass === "live") {
        linkFree = served.then(
          () => isTreeLinkFree(tree, closing.signal),
          () => false,
        );
      }
      await served;
    } finally {
      stop.release();
      stream.destroy();
    }
  }

  return {
    receive(stream) {
      const pass = receive(stream);
      running.add(pass);
      return pass.finally(() => running.delete(pass));
    },
    async close() {
      closing.abort();
      await Promise.allSettled([...running, linkFree]);
    },
  };
}

/** Whether the final pass may update files in place; asked while the service still runs. */
async function isTreeLinkFree(tree: FileTree, signal: AbortSignal): Promise<boolean> {
  try {
    return !(await hasHardLinks(tree.path, signal));
  } catch {
    // Not known is the same as no: the final pass then replaces files instead of patching them.
    return false;
  }
}

/**
 * Writes what was received to the disk; until then a power failure at the destination could take
 * back what the service had made durable at the source. To be called before the source's copy is
 * destroyed; it need not be under the freeze.
 * @throws ERR_COMMAND_FAILED, ERR_CANCELLED
 */
export async function flushTree(
  tree: FileTree,
  timeoutMs: number,
  signal?: AbortSignal,
): Promise<void> {
  const argv = ["sync", "--file-system", tree.path];
  await run(argv, { timeoutMs, ...(signal === undefined ? {} : { signal }) });
}

async function serve(
  tree: FileTree,
  stream: Duplex,
  hello: SyncHello,
  isLinkFree: boolean,
  options: TreeReceiverOptions,
  signal: AbortSignal,
): Promise<void> {
  const directory = await mkdtemp(join(options.runDirectory, "rsyncd-"));
  try {
    const config = await writeDaemonFiles(directory, tree, hello.secret, options.timeoutMs);
    // `--server --daemon`: serve the one connection on stdin and stdout, as under ssh.
    const child = start(["rsync", "--server", "--daemon", `--config=${config}`, "."], {
      stdio: ["pipe", "pipe", "ignore"],
    });
    const { stdin, stdout } = child;
    if (stdin === null || stdout === null) throw new TypeError("no pipes");
    // EPIPE: the daemon has ended; its exit code and log tell why.
    stdin.on("error", () => {});
    const onStop = () => stream.destroy();
    signal.addEventListener("abort", onStop, { once: true });
    stream.on("close", () => {
      stdin.destroy();
      stdout.destroy();
    });
    writeLine(stream, { version: syncVersion, isLinkFree });
    stream.pipe(stdin);
    stdout.pipe(stream);
    const exitCode = await exitOf(child, signal);
    const isStopped = signal.aborted;
    await untilEnded(stream, signal);
    signal.removeEventListener("abort", onStop);
    if (isStopped) throw signal.reason;
    const messages = await readFile(join(directory, "log"), "utf8").catch(() => "");
    const failure = rsyncFailure(tree.name, hello.pass, {
      exitCode,
      messages: withoutStamps(messages).slice(-maxLogChars),
    });
    if (failure !== undefined) throw failure;
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/** Last part of the daemon's log that an error carries. */
const maxLogChars = 16_384;

/** Takes `2026/01/31 12:00:00 [123] ` off each line. */
function withoutStamps(log: string): string {
  return log.replace(/^\d{4}\/\d\d\/\d\d \d\d:\d\d:\d\d \[\d+\] /gm, "");
}

async function writeDaemonFiles(
  directory: string,
  tree: FileTree,
  secret: string,
  timeoutMs: number,
): Promise<string> {
  const config = join(directory, "rsyncd.conf");
  const secretsPath = join(directory, "secrets");
  // A link of ours, because the configuration gives `%`, `#` and line ends a meaning.
  const root = join(directory, "root");
  await Promise.all([
    symlink(tree.path, root),
    writeFile(secretsPath, `${rsyncUser}:${secret}\n`, { mode: 0o600 }),
    writeFile(
      config,
      daemonConfig({
        path: root,
        secretsPath,
        logPath: join(directory, "log"),
        timeoutSeconds: Math.ceil(timeoutMs / 1_000) + 1,
      }),
      { mode: 0o600 },
    ),
  ]);
  return config;
}
