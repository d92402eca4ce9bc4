/** Reads the repository's own source, for the tests that check its rules. */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";

export interface SourceFile {
  /** Relative to `src/`, with `/`. */
  path: string;
  text: string;
  /** The text without comments; line numbers are kept. */
  code: string;
}

/** All hand-written TypeScript under `directory` (`gen/` is generated). Run from the root. */
export async function readSources(directory: string): Promise<SourceFile[]> {
  const root = join(process.cwd(), directory);
  const entries = await readdir(root, { recursive: true });
  const paths = entries.filter((path) => path.endsWith(".ts") && !path.startsWith("gen/")).sort();
  return Promise.all(
    paths.map(async (path) => {
      const text = await readFile(join(root, path), "utf8");
      return { path, text, code: stripComments(text) };
    }),
  );
}

/** Good enough for our own formatted code: `//` counts only at a line's start or after a blank. */
function stripComments(text: string): string {
  return text
    .replace(/\/\*[\s\S]*?\*\//g, (comment) => comment.replace(/[^\n]/g, " "))
    .replace(/(^|\s)\/\/.*$/gm, "$1");
}

export interface Import {
  specifier: string;
  isTypeOnly: boolean;
  line: number;
}

/** Static and dynamic imports and re-exports. */
export function importsOf(code: string): Import[] {
  const pattern =
    /\b(?:import|export)\s+(type\s+)?(?:[\w*{}\s,$]+?\s+from\s+)?"([^"]+)"|\bimport\("([^"]+)"\)/g;
  return [...code.matchAll(pattern)].map((match) => ({
    specifier: match[2] ?? match[3] ?? "",
    isTypeOnly: match[1] !== undefined,
    line: code.slice(0, match.index).split("\n").length,
  }));
}
