/** The secret with which this outer container signs its tokens and verifies them. */
import { randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import { isNotFound, writeFileDurably } from "../lib/files.js";

/** As long as the digest of HMAC-SHA-256 (RFC 7518, 3.2). */
const keyBytes = 32;

/**
 * Reads the secret, or makes it (mode 0600). One of another length, which UMS never writes, is
 * replaced: that makes the tokens of before worthless, and no more than that.
 */
export async function openTokenKey(path: string): Promise<Uint8Array> {
  const kept = await readFile(path).catch((error: unknown) => {
    if (isNotFound(error)) return undefined;
    throw error;
  });
  if (kept?.length === keyBytes) return kept;
  const key = randomBytes(keyBytes);
  await writeFileDurably(path, key);
  return key;
}
