/** What was sent: the list of files by which both sides agree that nothing is missing. */
import { createHash } from "node:crypto";

export interface ManifestFile {
  name: string;
  bytes: number;
  /** Lower-case hex, 32 bytes. Of a file the SHA-256; of the page stream that of its seals. */
  digest: string;
}

export interface Manifest {
  /** In the order sent. */
  files: ManifestFile[];
  /** {@link manifestDigest} of `files`. */
  digest: string;
}

/** Makes the encodings of different formats differ. */
const domain = "ums-manifest-1\n";

/**
 * SHA-256 (lower-case hex) over the canonical encoding of a set of files: for each file, in the
 * byte order of the names, the name's length (u32), the name (UTF-8), the size (u64) and the
 * content's digest. The order in which files were sent does not count, so files that went over
 * several streams give the same digest; {@link mergeManifests} joins their manifests.
 */
export function manifestDigest(files: readonly ManifestFile[]): string {
  const hash = createHash("sha256").update(domain);
  const entries = files
    .map(({ name, bytes, digest }) => ({ name: Buffer.from(name, "utf8"), bytes, digest }))
    .sort((a, b) => Buffer.compare(a.name, b.name));
  for (const { name, bytes, digest } of entries) {
    const numbers = Buffer.alloc(12);
    numbers.writeUInt32BE(name.length, 0);
    numbers.writeBigUInt64BE(BigInt(bytes), 4);
    hash.update(numbers.subarray(0, 4)).update(name).update(numbers.subarray(4));
    hash.update(Buffer.from(digest, "hex"));
  }
  return hash.digest("hex");
}

/** One manifest for everything that went over several streams. */
export function mergeManifests(manifests: readonly Manifest[]): Manifest {
  const files = manifests.flatMap((manifest) => manifest.files);
  return { files, digest: manifestDigest(files) };
}
