import { readFile } from "node:fs/promises";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { type ErrorCode, errorCatalogue, exitCodes, UmsError } from "../../src/errors.js";
import { readSources } from "../lib/sources.js";
import { suite } from "../lib/suite.js";

const test = suite("errors");

const codes = Object.keys(errorCatalogue) as ErrorCode[];

test("every code is documented with its kind, and no other is", async () => {
  const text = await readFile(join(process.cwd(), "docs/errors.md"), "utf8");
  const documented = [...text.matchAll(/^\| `(ERR_\w+)` \| (\w+) \|/gm)].map((match) => [
    match[1],
    match[2],
  ]);
  const expected = codes.map((code) => [code, errorCatalogue[code]]);
  assert.equal(documented.sort(), expected.sort());
});

test("every kind is documented with its exit code", async () => {
  const text = await readFile(join(process.cwd(), "docs/errors.md"), "utf8");
  const byKind = [...text.matchAll(/^\| (\w+) \| [^|]+ \| `[A-Z_]+` \| (\d+) \|/gm)];
  const documented = Object.fromEntries(byKind.map((match) => [match[1], Number(match[2])]));
  assert.equal(documented, { ...exitCodes });
});

test("every code is used", async () => {
  const sources = await readSources("src");
  const text = sources
    .map(({ path, code }) => (path === "errors.ts" ? afterCatalogue(code) : code))
    .join("\n");
  const unused = codes.filter((code) => !text.includes(`"${code}"`));
  assert.equal(unused, []);
});

test("an operating error stays itself", () => {
  const error = new UmsError("ERR_NO_ROOM", "no room", {
    hint: "make some",
    cause: new Error("x"),
  });
  assert.is(UmsError.from(error), error);
  assert.is(error.kind, "limit");
  assert.equal(error.details, {});
});

test("Node's codes are found along the chain of causes", () => {
  const cause = Object.assign(new Error("connect refused"), { code: "ECONNREFUSED" });
  const outer = new Error("outer", { cause: new Error("middle", { cause }) });
  const error = UmsError.from(outer);
  assert.is(error.code, "ERR_PEER_UNREACHABLE");
  assert.is(error.message, "outer");
  assert.is(error.cause, outer);
});

test("anything else is an internal error, and a ring of causes ends", () => {
  assert.is(UmsError.from("text").code, "ERR_INTERNAL");
  const ring = new Error("ring");
  ring.cause = ring;
  assert.is(UmsError.from(ring).code, "ERR_INTERNAL");
});

function afterCatalogue(code: string): string {
  return code.slice(code.indexOf("satisfies Record"));
}

test.run();
