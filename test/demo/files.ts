import type { OuterContainer } from "../lib/outer.js";

/** In the volume that the service has at /data. */
const directory = "/data/files";

/** Writes `count` files of 1 to 64 KiB as the service would, and returns their digests. */
export async function writeFiles(
  outer: OuterContainer,
  count: number,
): Promise<Map<string, string>> {
  await outer.inService(
    `mkdir -p ${directory} && cd ${directory} && for number in $(seq ${count}); do ` +
      'head -c "$((number % 64 * 1024 + 1000))" /dev/urandom >"$number"; done',
  );
  return digestFiles(outer);
}

/** Name -> SHA-256, as the service sees them. */
export async function digestFiles(outer: OuterContainer): Promise<Map<string, string>> {
  const listing = await outer.inService(`cd ${directory} && sha256sum *`);
  const rows = listing.trim().split("\n");
  return new Map(rows.map((row) => [row.slice(66), row.slice(0, 64)]));
}
