import { readFileSync } from "node:fs";

/** Version in package.json, which lies beside `dist/`. */
export function umsVersion(): string {
  const text = readFileSync(new URL("../../../package.json", import.meta.url), "utf8");
  return (JSON.parse(text) as { version: string }).version;
}
