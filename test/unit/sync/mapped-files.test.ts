import * as assert from "uvu/assert";
import { parseMaps } from "../../../src/sync/mapped-files.js";
import { suite } from "../../lib/suite.js";

const test = suite("mapped files");

test("takes shared writable mappings of files only", () => {
  const text = [
    "7f00-7f01 rw-s 00000000 fe:01 11 /data/db file",
    "7f01-7f02 r--s 00000000 fe:01 12 /data/read-only",
    "7f02-7f03 rw-p 00000000 fe:01 13 /data/private",
    "7f03-7f04 -w-s 00000000 fe:01 14                        /data/write-only",
    "7f04-7f05 rw-s 00000000 00:00 0 ",
    "7f05-7f06 rw-s 00000000 fe:01 15 /data/a\\012b",
    "ffff-ffff --xp 00000000 00:00 0 [vsyscall]",
  ].join("\n");
  assert.equal(
    parseMaps(text).map(({ path }) => path),
    ["/data/db file", "/data/write-only", "/data/a\nb"],
  );
});

test("expects a deleted name, and a name that only looks like one", () => {
  const mappings = parseMaps("7f00-7f01 rw-s 00000000 fe:01 11 /data/x (deleted)");
  assert.equal(
    mappings.map(({ path, isDeleted }) => [path, isDeleted]),
    [
      ["/data/x (deleted)", true],
      ["/data/x", true],
    ],
  );
});

test.run();
