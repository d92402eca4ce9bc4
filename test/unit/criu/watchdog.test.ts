import { tmpdir } from "node:os";
import * as assert from "uvu/assert";
import { watched } from "../../../src/criu/watchdog.js";
import { sleep } from "../../../src/lib/deadline.js";
import { rejectsWith } from "../../lib/errors.js";
import { suite } from "../../lib/suite.js";

const test = suite("watchdog");
const options = { what: "the restore", workDir: tmpdir(), timeoutMs: 200 };

test("lets what ends in time end", async () => {
  assert.is(
    await watched(
      options,
      sleep(60).then(() => 7),
    ),
    7,
  );
});

test("ends the wait for what does not", async () => {
  const error = await rejectsWith("ERR_CRIU_RESTORE_FAILED", watched(options, sleep(1_000)));
  assert.match(error.message, /did not end within 200 ms/);
});

test("passes a failure on", async () => {
  const failing = sleep(10).then(() => Promise.reject(new TypeError("no")));
  const error = await watched(options, failing).then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  assert.instance(error, TypeError);
});

test.run();
