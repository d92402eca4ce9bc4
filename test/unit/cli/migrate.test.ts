import * as assert from "uvu/assert";
import { explain } from "../../../src/cli/migrate.js";
import { type ErrorCode, errorCatalogue, UmsError } from "../../../src/errors.js";
import { suite } from "../../lib/suite.js";

const test = suite("what `ums migrate` says of a failure");

test("every error says which side runs the service and what to do next", () => {
  for (const code of Object.keys(errorCatalogue) as ErrorCode[]) {
    const lines = explain(new UmsError(code, "it failed"), "source").trimEnd().split("\n");
    assert.is(lines[0], `ums: it failed (${code})`);
    assert.is(lines[1], "  the service runs on the source");
    assert.ok((lines[2] ?? "").trim().length > 10, code);
  }
});

test("an error's own advice stands in the place of the general one", () => {
  const text = explain(new UmsError("ERR_NO_ROOM", "full", { hint: "delete this" }), "source");
  assert.match(text, "  delete this\n");
  assert.not.match(text, "make room");
});

test.run();
