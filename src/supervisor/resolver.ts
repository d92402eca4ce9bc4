import { readFile, writeFile } from "node:fs/promises";

const resolvConfPath = "/etc/resolv.conf";

/**
 * Lets the service look up names without a dot, such as those of other containers on the outer
 * container's network.
 *
 * The inner engine's DNS server forwards to the resolvers of our own resolv.conf, but answers
 * dotless names with nothing as soon as that file has an `ndots` option (libnetwork resolver:
 * the client is to try again with a search domain). Docker itself writes `ndots:0` into the file on
 * user-defined networks, where it means nothing: it is taken out. Another value stays; with it
 * comes a search list (Kubernetes).
 */
export async function prepareResolver(): Promise<void> {
  const text = await readFile(resolvConfPath, "utf8");
  const cleaned = withoutNdotsZero(text);
  // Written in place: the file is a bind mount and cannot be replaced.
  if (cleaned !== text) await writeFile(resolvConfPath, cleaned);
}

/** Takes `ndots:0` out of the options of a resolv.conf (man 5 resolv.conf). */
export function withoutNdotsZero(text: string): string {
  return text
    .split("\n")
    .flatMap((line) => {
      if (!/^options\s/.test(line)) return [line];
      const options = line.split(/\s+/).filter((word) => word !== "ndots:0");
      return options.length > 1 ? [options.join(" ")] : [];
    })
    .join("\n");
}
