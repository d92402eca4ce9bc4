/**
 * The destination's copy of a checkpoint: pages by CRIU's page server, image files verified chunk
 * by chunk, both into one directory on tmpfs. CRIU never restores from a file that was not
 * verified and vetted (vet/): each stream is taken once, so nothing is added afterwards.
 */
import { constants, createWriteStream } from "node:fs";
import { open, readdir } from "node:fs/promises";
import { join } from "node:path";
import type { Duplex, Writable } from "node:stream";
import { isImageFileName, isPageFileName } from "../criu/files.js";
import { startPageServer } from "../criu/page-server.js";
import { UmsError } from "../errors.js";
import { type Deferred, deferred } from "../lib/deferred.js";
import { receiveFiles } from "../transfer/files.js";
import { type Manifest, mergeManifests } from "../transfer/manifest.js";
import { relayToPageServer } from "../transfer/relay.js";
import { pagesEntry } from "./pages-entry.js";
import { rehearseFilters } from "./vet/filters.js";
import type { Grants } from "./vet/grants.js";
import { vetCheckpoint } from "./vet/vet.js";

export interface CheckpointReceiverOptions {
  imagesDir: string;
  workDir: string;
  /** Largest sum of image files without the pages. tmpfs contents of the service are in them. */
  maxFilesBytes: number;
  /** Most memory pages, bytes; undefined: as much as there is room for. */
  maxPagesBytes: number | undefined;
  /** Image files come when the dump has ended, so their stream is silent for as long. */
  dumpTimeoutMs: number;
  /** What a restored service may be at most. */
  grants: Grants;
}

export interface CheckpointReceiver {
  /**
   * Each resolves when its stream is used up and all of it is verified, written and, the files,
   * vetted, while pages may still be coming. @throws ERR_CHECKPOINT_UNSAFE
   */
  acceptPages(stream: Duplex): Promise<void>;
  acceptFiles(stream: Duplex): Promise<void>;
  /** Resolves with the whole manifest when both have come. Rejects with the first failure. */
  manifest(): Promise<Manifest>;
  /** Ends the page server. */
  close(): void;
}

export function createCheckpointReceiver(options: CheckpointReceiverOptions): CheckpointReceiver {
  const pages = deferred<Manifest>();
  const files = deferred<Manifest>();
  // A failure is seen by manifest(); before anyone asks it must not end the process.
  pages.promise.catch(() => undefined);
  files.promise.catch(() => undefined);
  const opened: { kill(): void }[] = [];
  const taken = new Set<string>();
  rehearseFilters(options.grants.withheld ?? []);
  const takeOnce = (kind: string, stream: Duplex): void => {
    if (!taken.has(kind)) return void taken.add(kind);
    stream.destroy();
    throw new UmsError("ERR_FRAME_INVALID", `a second stream of ${kind}`);
  };
  return {
    async acceptPages(stream) {
      takeOnce("pages", stream);
      await settle(pages, async () => {
        const server = startPageServer(options);
        opened.push(server);
        const totals = await relayToPageServer(stream, server.socket, {
          onProgress: pageLimit(options.maxPagesBytes),
        });
        await server.finished();
        return pagesEntry(totals);
      });
    },
    async acceptFiles(stream) {
      takeOnce("files", stream);
      await settle(files, async () => {
        const manifest = await receiveFiles(stream, {
          openFile: (name) => openImageFile(options.imagesDir, name),
          maxBytes: options.maxFilesBytes,
          stallTimeoutMs: options.dumpTimeoutMs,
        });
        // There is no answer. One that is not read never sees the other side's end, and would stay
        // open for ever (measured: a descriptor, and one of the peer's streams, an arrival).
        stream.end();
        stream.resume();
        const names = manifest.files.map(({ name }) => name);
        await vetCheckpoint({ imagesDir: options.imagesDir, names, grants: options.grants });
        return manifest;
      });
    },
    async manifest() {
      const [ofPages, ofFiles] = await Promise.all([pages.promise, files.promise]);
      await checkNothingElse(options.imagesDir, ofFiles);
      return mergeManifests([ofPages, ofFiles]);
    },
    close: () => {
      for (const server of opened) server.kill();
    },
  };
}

/** Of CRIU's page protocol: a message for every run of pages. */
const protocolShare = 1 / 64;

/** Throws ERR_NO_ROOM when more has come; exported for tests. */
export function pageLimit(maxPagesBytes = Number.POSITIVE_INFINITY): (bytes: number) => void {
  return (bytes) => {
    if (bytes <= maxPagesBytes * (1 + protocolShare)) return;
    throw new UmsError(
      "ERR_NO_ROOM",
      `more than the allowed ${maxPagesBytes} bytes of memory came`,
    );
  };
}

/** The directory holds what was verified and what the page server wrote. */
async function checkNothingElse(imagesDir: string, { files }: Manifest): Promise<void> {
  const known = new Set(files.map(({ name }) => name));
  const names = await readdir(imagesDir);
  const odd = names.find((name) => !known.has(name) && !isPageFileName(name));
  if (odd === undefined) return;
  throw new UmsError("ERR_CHECKPOINT_UNSAFE", `a file has come into the checkpoint: ${odd}`);
}

async function settle(target: Deferred<Manifest>, work: () => Promise<Manifest>): Promise<void> {
  try {
    target.resolve(await work());
  } catch (error) {
    target.reject(error);
    throw error;
  }
}

/**
 * Opens a new file of a fixed name pattern; never follows a link, never opens what exists
 * (O_NOFOLLOW, O_EXCL). Pages come by the page server alone.
 */
async function openImageFile(directory: string, name: string): Promise<Writable> {
  if (!isImageFileName(name) || isPageFileName(name)) {
    throw new UmsError("ERR_FRAME_INVALID", `a checkpoint has no file named "${name}"`);
  }
  const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
  const file = await open(join(directory, name), flags, 0o600);
  return createWriteStream("", { fd: file });
}
