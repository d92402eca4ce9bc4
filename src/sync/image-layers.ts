/**
 * Moving an image without the layers the destination has: the archive of `docker save` is passed
 * through with those layers' files left out. moby's loader looks a layer up by its chain id before
 * it opens the layer's file, so it never misses them (moby image/tarexport/load.go; tried with
 * Docker 20.10 and 26.1).
 */
import { type Duplex, Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { type Extract, extract, type Pack, pack } from "tar-stream";
import { UmsError } from "../errors.js";

export interface SendImageOptions {
  /** Opens `docker save` of the image; opened twice for engines before Docker 25. */
  openArchive: () => Promise<Readable>;
  /** Uncompressed layer digests of the image (`RootFS.Layers`), base first. */
  layers: readonly string[];
  /** How many of `layers`, counted from the base, the destination has: {@link presentLayers}. */
  presentCount: number;
  signal?: AbortSignal;
  /** Called for every chunk with the sum so far. */
  onProgress?: (bytesSent: number) => void;
}

/**
 * Writes the archive without the known layers to the stream and ends our side of it.
 * @throws ERR_SYNC_FAILED, ERR_TRANSFER_SHORT, ERR_CANCELLED
 */
export async function sendImage(
  stream: Duplex,
  options: SendImageOptions,
): Promise<{ bytesSent: number }> {
  const { onProgress, signal } = options;
  try {
    const omitted = await omittedFiles(options);
    const archive = await options.openArchive();
    const filtered = filterArchive(archive, (name) => !omitted.has(name));
    let bytesSent = 0;
    filtered.on("data", (chunk: Buffer) => {
      bytesSent += chunk.length;
      onProgress?.(bytesSent);
    });
    await pipeline(filtered, stream, signal === undefined ? {} : { signal });
    return { bytesSent };
  } catch (error) {
    throw imageError("sending the image", error, signal);
  }
}

/** What the destination's engine must be able to do. */
export interface ImageStore {
  /** `docker load`; rejects when the engine reports an error. */
  load(archive: Readable): Promise<void>;
  /** Whether there is an image with this id (`sha256:...`). */
  hasImage(id: string): Promise<boolean>;
}

/**
 * Loads what {@link sendImage} sends and makes sure that it is the expected image: its id is
 * the digest of its configuration, which names every layer by its digest, and the engine checks
 * those.
 * @throws ERR_MANIFEST_MISMATCH when it is another image, ERR_TRANSFER_SHORT when it ends early,
 *   ERR_NO_ROOM, ERR_SYNC_FAILED with the engine's reason, ERR_CANCELLED
 */
export async function receiveImage(
  stream: Duplex,
  expectedId: string,
  store: ImageStore,
  signal?: AbortSignal,
): Promise<void> {
  // Parsed on the way: an archive cut short is told from an engine that refuses it.
  const checked = filterArchive(stream, () => true);
  const onAbort = () => checked.destroy(new Error("aborted"));
  signal?.addEventListener("abort", onAbort, { once: true });
  try {
    signal?.throwIfAborted();
    await store.load(checked);
    if (!(await store.hasImage(expectedId))) {
      throw new UmsError("ERR_MANIFEST_MISMATCH", `the peer sent another image than ${expectedId}`);
    }
  } catch (error) {
    throw imageError("loading the image", checked.errored ?? error, signal);
  } finally {
    signal?.removeEventListener("abort", onAbort);
    checked.destroy();
    stream.destroy();
  }
}

/**
 * How many layers of `wanted`, counted from the base, some local image has. Layers are known by
 * what lies below them too (the chain id), so only common beginnings count.
 * @param localImages `RootFS.Layers` of every local image
 */
export function presentLayers(
  wanted: readonly string[],
  localImages: readonly (readonly string[])[],
): number {
  let longest = 0;
  for (const layers of localImages) {
    let count = 0;
    while (count < wanted.length && wanted[count] === layers[count]) count += 1;
    longest = Math.max(longest, count);
  }
  return longest;
}

/** Names of the archive's files that hold only layers which the destination has. */
async function omittedFiles(options: SendImageOptions): Promise<Set<string>> {
  const { layers, presentCount } = options;
  if (presentCount === 0) return new Set();
  const format = await readFormat(options);
  const fileOf = (index: number): string => {
    if (format.kind === "oci") return `blobs/${(layers[index] ?? "").replace(":", "/")}`;
    const name = format.layerFiles[index] ?? "";
    return format.links.get(name) ?? name;
  };
  const files = layers.map((_, index) => fileOf(index));
  const needed = new Set(files.slice(presentCount));
  return new Set(files.slice(0, presentCount).filter((name) => !needed.has(name)));
}

/** Docker 25 and later name a layer's file by its digest, earlier ones by a made-up id. */
type ArchiveFormat =
  | { kind: "oci" }
  | { kind: "legacy"; layerFiles: string[]; links: Map<string, string> };

/** The manifest is the last entry, so an old archive is read to its end to understand it. */
async function readFormat(options: SendImageOptions): Promise<ArchiveFormat> {
  const archive = await options.openArchive();
  const entries = extract();
  const links = new Map<string, string>();
  const reading = feed(archive, entries);
  try {
    for await (const entry of entries) {
      const { name, type, linkname } = entry.header;
      if (name.startsWith("blobs/")) return { kind: "oci" };
      if (type === "symlink") links.set(name, linkname.replace(/^\.\.\//, ""));
      if (name === "manifest.json") {
        return { kind: "legacy", layerFiles: await readLayerFiles(entry), links };
      }
      entry.resume();
    }
  } finally {
    archive.destroy();
    await reading;
  }
  throw new UmsError("ERR_SYNC_FAILED", "the engine's image archive has no manifest");
}

/** Manifests list paths only: a few hundred bytes a layer. */
const maxManifestBytes = 1024 * 1024;

async function readLayerFiles(entry: AsyncIterable<unknown>): Promise<string[]> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of entry) {
    if (!(chunk instanceof Uint8Array)) throw invalidManifest();
    bytes += chunk.length;
    if (bytes > maxManifestBytes) throw invalidManifest();
    chunks.push(chunk);
  }
  const manifest: unknown = JSON.parse(Buffer.concat(chunks).toString("utf8"));
  const layers: unknown = Array.isArray(manifest) ? manifest[0]?.Layers : undefined;
  if (!Array.isArray(layers) || !layers.every((layer) => typeof layer === "string")) {
    throw invalidManifest();
  }
  return layers;
}

function invalidManifest(): UmsError {
  return new UmsError("ERR_SYNC_FAILED", "the engine's image archive has an unknown manifest");
}

/** The archive with only the wanted entries; fails as the source does, and ends it when destroyed. */
function filterArchive(source: Readable, isWanted: (name: string) => boolean): Readable {
  const target = pack();
  const filtered = Readable.from(target, { objectMode: false });
  filtered.once("close", () => source.destroy());
  copyEntries(source, target, isWanted).catch((error: unknown) => filtered.destroy(asError(error)));
  return filtered;
}

async function copyEntries(
  source: Readable,
  target: Pack,
  isWanted: (name: string) => boolean,
): Promise<void> {
  const entries = extract();
  const reading = feed(source, entries);
  for await (const entry of entries) {
    if (!isWanted(entry.header.name)) {
      entry.resume();
      continue;
    }
    const copy = target.entry(entry.header);
    // Told by the write that meets it; unheard it would end the process.
    copy.on("error", () => {});
    for await (const chunk of entry) await write(copy, chunk);
    copy.end(null);
  }
  await reading;
  target.finalize();
}

/** Writes a source into a parser. Never rejects: a failure destroys the parser, which tells it. */
async function feed(source: Readable, entries: Extract): Promise<void> {
  try {
    for await (const chunk of source) await write(entries, chunk);
    entries.end(null);
  } catch (error) {
    entries.destroy(asError(error));
  }
}

/** Writes one chunk to a stream of tar-stream's and waits until it wants more. */
async function write(target: Extract | ReturnType<Pack["entry"]>, chunk: unknown): Promise<void> {
  if (!target.destroying && !target.write(chunk)) {
    await new Promise<void>((resolve) => {
      const done = () => {
        target.off("drain", done);
        target.off("close", done);
        resolve();
      };
      target.on("drain", done);
      target.on("close", done);
    });
  }
  if (target.destroying) throw new Error("the archive was closed");
}

function asError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(String(thrown));
}

function imageError(what: string, error: unknown, signal: AbortSignal | undefined): UmsError {
  if (signal?.aborted === true) {
    return new UmsError("ERR_CANCELLED", `${what} cancelled`, { cause: error });
  }
  if (error instanceof UmsError) return error;
  const { message } = asError(error);
  const isShort = /Unexpected end of data|Premature close|ECONNRESET/.test(message);
  if (/no space left on device/i.test(message)) {
    return new UmsError("ERR_NO_ROOM", `${what} failed: ${message}`, { cause: error });
  }
  return new UmsError(
    isShort ? "ERR_TRANSFER_SHORT" : "ERR_SYNC_FAILED",
    `${what} failed: ${message}`,
    { cause: error },
  );
}
