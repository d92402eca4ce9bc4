import * as assert from "uvu/assert";
import { isMountDestination } from "../../../src/peer/convert.js";
import { suite } from "../../lib/suite.js";

const test = suite("mount destinations of a peer");

test("are plain absolute paths", () => {
  for (const path of ["/data", "/var/lib/my data", "/a[b", "/dätä"]) {
    assert.ok(isMountDestination(path), path);
  }
});

for (const path of [
  "",
  "/",
  "data",
  "../data",
  "/data/../../etc",
  "/data/.",
  "/data//x",
  "/data/",
  "/data:ro",
  "/mnt]:x",
  "/a\nb",
  "/a\0b",
  `/${"x".repeat(5_000)}`,
]) {
  test(`are not ${JSON.stringify(path.slice(0, 20))}`, () => assert.not(isMountDestination(path)));
}

test.run();
