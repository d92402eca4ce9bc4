import { readFile } from "node:fs/promises";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { run } from "../../../src/lib/exec.js";
import { isNotFound, writeFileDurably } from "../../../src/lib/files.js";
import { rejectsWith } from "../../lib/errors.js";
import { suite } from "../../lib/suite.js";
import { withDirectory } from "../../lib/temporary.js";

const test = suite("programs and files");

test("run returns both outputs and feeds stdin", async () => {
  const { stdout } = await run(["cat"], { input: "hello" });
  assert.is(stdout, "hello");
});

test("run takes arguments literally, not through a shell", async () => {
  const { stdout } = await run(["printf", "%s", "$(id); `id`"]);
  assert.is(stdout, "$(id); `id`");
});

test("run hides our own environment from tools", async () => {
  process.env["UMS_TEST_LEAK"] = "1";
  const { stdout } = await run(["env"]);
  delete process.env["UMS_TEST_LEAK"];
  assert.not.match(stdout, "UMS_TEST_LEAK");
});

test("run reports a failure so that it can be repeated by hand", async () => {
  const error = await rejectsWith("ERR_COMMAND_FAILED", run(["ls", "/no/such/place"]));
  assert.equal(error.details["argv"], ["ls", "/no/such/place"]);
  assert.is(error.details["exitCode"], 2);
  assert.match(error.message, "No such file");
});

test("run kills what is late", async () => {
  await rejectsWith("ERR_COMMAND_FAILED", run(["sleep", "60"], { timeoutMs: 50 }));
});

test("run fails clearly when there is no such program", async () => {
  await rejectsWith("ERR_COMMAND_FAILED", run(["ums-no-such-program"]));
});

test("a file is replaced whole and keeps its mode", async () => {
  await withDirectory(async (directory) => {
    const path = join(directory, "deep", "file");
    await writeFileDurably(path, "one");
    await writeFileDurably(path, "two");
    assert.is(await readFile(path, "utf8"), "two");
    const missing = await readFile(`${path}.new`).catch((error) => error);
    assert.ok(isNotFound(missing));
  });
});

test.run();
