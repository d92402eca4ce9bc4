/** Lists of name patterns, as the configuration has them. */

/**
 * Makes a check of names out of patterns: `*` stands for any characters, a leading `!` excludes,
 * and the last pattern that matches counts, e.g. `edge-*`, `!edge-9`. No pattern matches nothing.
 */
export function matcherOf(patterns: readonly string[]): (name: string) => boolean {
  const rules = patterns.map(parseRule);
  return (name) => rules.findLast(({ pattern }) => pattern.test(name))?.includes ?? false;
}

function parseRule(rule: string): { pattern: RegExp; includes: boolean } {
  const includes = !rule.startsWith("!");
  const glob = (includes ? rule : rule.slice(1)).trim();
  const literals = glob.split("*").map((part) => part.replace(/[\\^$.+?()[\]{}|]/g, "\\$&"));
  return { pattern: new RegExp(`^${literals.join(".*")}$`), includes };
}
