import * as assert from "uvu/assert";
import { backoffMs } from "../../../src/lib/backoff.js";
import { poll, sleep, within } from "../../../src/lib/deadline.js";
import { rejectsWith } from "../../lib/errors.js";
import { suite } from "../../lib/suite.js";

const test = suite("deadlines");

test("within passes the result on", async () => {
  assert.is(await within(1_000, "adding", Promise.resolve(3)), 3);
});

test("within names what was late", async () => {
  const never = new Promise(() => undefined);
  const error = await rejectsWith("ERR_DEADLINE", within(10, "waiting for Godot", never));
  assert.match(error.message, "waiting for Godot");
});

test("within passes the failure on", async () => {
  const failure = new Error("boom");
  const outcome = await within(1_000, "failing", Promise.reject(failure)).catch((e) => e);
  assert.is(outcome, failure);
});

test("sleep ends when cancelled, before and during", async () => {
  const controller = new AbortController();
  const sleeping = sleep(60_000, controller.signal);
  controller.abort();
  await rejectsWith("ERR_CANCELLED", sleeping);
  await rejectsWith("ERR_CANCELLED", sleep(60_000, controller.signal));
});

test("poll returns the first real answer", async () => {
  let calls = 0;
  const answer = await poll(
    "third call",
    () => {
      calls += 1;
      return calls === 3 && "there";
    },
    { timeoutMs: 5_000, intervalMs: 1 },
  );
  assert.is(answer, "there");
});

test("poll gives up", async () => {
  const polling = poll("never", () => undefined, { timeoutMs: 5, intervalMs: 1 });
  await rejectsWith("ERR_DEADLINE", polling);
});

test("back-off grows to its bound and is spread", () => {
  const options = { initialMs: 100, maxMs: 1_000 };
  for (let attempt = 0; attempt < 100; attempt += 1) {
    const bound = Math.min(1_000, 100 * 2 ** attempt);
    const pauseMs = backoffMs(attempt, options);
    assert.ok(pauseMs >= bound / 2 && pauseMs <= bound, `${attempt}: ${pauseMs}`);
  }
});

test.run();
