import { type Manifest, manifestDigest } from "../transfer/manifest.js";
import type { RelayTotals } from "../transfer/relay.js";

/**
 * The page stream's entry in the manifest, beside those of the image files. What the page server
 * makes of it differs in names (pages-65537.img), so the stream itself is what both sides digest.
 */
export function pagesEntry({ bytes, digest }: RelayTotals): Manifest {
  const files = [{ name: "pages.stream", bytes, digest }];
  return { files, digest: manifestDigest(files) };
}
