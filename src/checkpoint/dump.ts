/**
 * A dump that leaves the machine while it is made: pages go through CRIU's page-server protocol
 * and never touch this side's disk or memory file systems; the other image files, some tens of
 * kilobytes, follow when the dump has ended.
 */
import { createReadStream } from "node:fs";
import { mkdir, readdir, rm } from "node:fs/promises";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { join } from "node:path";
import type { Duplex } from "node:stream";
import { criuWorkRoot, isImageFileName, isStatisticsFileName } from "../criu/files.js";
import { rearmTimerfds } from "../criu/timerfds.js";
import { UmsError } from "../errors.js";
import { within } from "../lib/deadline.js";
import { checkpoint } from "../oci/runc.js";
import { sendFiles } from "../transfer/files.js";
import { type Manifest, mergeManifests } from "../transfer/manifest.js";
import { relayFromDump } from "../transfer/relay.js";
import { pagesEntry } from "./pages-entry.js";

export interface DumpOptions {
  containerId: string;
  /** Private directory on tmpfs, made here and deleted by {@link PreparedDump.close}. */
  directory: string;
  /** Data streams to the destination. */
  pages: Duplex;
  files: Duplex;
  /** Longest dump. It is not killed before that. */
  timeoutMs: number;
  /** Called when the images are complete and not sent yet. */
  beforeSend(): Promise<unknown>;
  /** Further page bytes sent. */
  onBytes(bytes: number): void;
}

export interface PreparedDump {
  /** Dumps the frozen container and sends all of it. @throws ERR_CRIU_DUMP_FAILED, ERR_TRANSFER_* */
  run(): Promise<Manifest>;
  close(): Promise<void>;
}

/** How long the page connection may take to end after the dump has. */
const drainTimeoutMs = 30_000;

/** Directory of CRIU's work below {@link criuWorkRoot}. */
const dumpWork = "dump";

/** Also what a dump of an earlier supervisor has left. */
export async function removeDump(directory: string): Promise<void> {
  await rm(directory, { recursive: true, force: true });
  await rm(join(criuWorkRoot, dumpWork), { recursive: true, force: true });
}

/** Makes directories and the loopback port, so that the freeze need not wait for them. */
export async function prepareDump(options: DumpOptions): Promise<PreparedDump> {
  const imagesDir = join(options.directory, "images");
  const workDir = join(criuWorkRoot, dumpWork);
  await removeDump(options.directory);
  await mkdir(imagesDir, { recursive: true, mode: 0o700 });
  await mkdir(workDir, { recursive: true, mode: 0o700 });
  const { server, connection, port } = await listenOnce();

  async function run(): Promise<Manifest> {
    let reportedBytes = 0;
    const onProgress = (bytes: number) => {
      options.onBytes(bytes - reportedBytes);
      reportedBytes = bytes;
    };
    const relayed = connection.then((socket) =>
      relayFromDump(socket, options.pages, { onProgress }),
    );
    // Read below when the dump has ended well; a failed dump explains more than its broken stream.
    relayed.catch(() => undefined);
    const { containerId, timeoutMs } = options;
    await checkpoint({ containerId, imagesDir, workDir, pageServerPort: port, timeoutMs });
    await rearmTimerfds(imagesDir);
    await options.beforeSend();
    const [pages, files] = await Promise.all([
      within(drainTimeoutMs, "sending the last pages", relayed),
      sendFiles(options.files, await outgoing(imagesDir)),
    ]);
    return mergeManifests([pagesEntry(pages), files]);
  }

  return {
    run,
    async close() {
      server.close();
      options.pages.destroy();
      options.files.destroy();
      await removeDump(options.directory);
    },
  };
}

async function outgoing(imagesDir: string) {
  const names = (await readdir(imagesDir)).filter((name) => !isStatisticsFileName(name));
  const odd = names.find((name) => !isImageFileName(name));
  if (odd !== undefined) {
    throw new UmsError("ERR_INTERNAL", `CRIU wrote a file of an unknown kind: ${odd}`);
  }
  return names.map((name) => ({ name, readable: createReadStream(join(imagesDir, name)) }));
}

/** A loopback port for exactly one connection: CRIU's. runc takes no inherited socket. */
async function listenOnce() {
  const server: Server = createServer({ allowHalfOpen: true });
  server.maxConnections = 1;
  const connection = new Promise<Socket>((resolve) => {
    server.once("connection", (socket) => {
      server.close();
      resolve(socket);
    });
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(0, "127.0.0.1", resolve);
  });
  return { server, connection, port: (server.address() as AddressInfo).port };
}
