import * as assert from "uvu/assert";
import { createRateLimit } from "../../../src/lib/rate-limit.js";
import { throwsWith } from "../../lib/errors.js";
import { suite } from "../../lib/suite.js";

const test = suite("rate limits");

function limitAt(burst: number, perSecond: number) {
  const clock = { ms: 0 };
  const limit = createRateLimit({ what: "calls", burst, perSecond, nowMs: () => clock.ms });
  return { clock, limit };
}

test("so many at once, then as they come back", () => {
  const { clock, limit } = limitAt(3, 2);
  for (let count = 0; count < 3; count += 1) limit.take("a");
  const error = throwsWith("ERR_TOO_MANY_REQUESTS", () => limit.take("a"));
  assert.match(error.message, "too many calls of a");
  assert.is(error.hint, "try again in 1 s");
  clock.ms = 499;
  throwsWith("ERR_TOO_MANY_REQUESTS", () => limit.take("a"));
  clock.ms = 500;
  limit.take("a");
  throwsWith("ERR_TOO_MANY_REQUESTS", () => limit.take("a"));
});

test("a refused one costs nothing, a long rest gives no more than the burst", () => {
  const { clock, limit } = limitAt(2, 1);
  limit.take("a");
  limit.take("a");
  for (let count = 0; count < 50; count += 1) {
    throwsWith("ERR_TOO_MANY_REQUESTS", () => limit.take("a"));
  }
  clock.ms = 1_000;
  limit.take("a");
  clock.ms = 1_000_000;
  limit.take("a");
  limit.take("a");
  throwsWith("ERR_TOO_MANY_REQUESTS", () => limit.take("a"));
});

test("a check takes nothing, and everybody has a bucket of their own", () => {
  const { limit } = limitAt(1, 1);
  for (let count = 0; count < 5; count += 1) limit.check("a");
  limit.take("a");
  throwsWith("ERR_TOO_MANY_REQUESTS", () => limit.check("a"));
  limit.take("b");
});

test("others coming and going do not refill a bucket", () => {
  const { limit } = limitAt(1, 0.001);
  limit.take("a");
  for (let count = 0; count < 100; count += 1) limit.take(`other-${count}`);
  throwsWith("ERR_TOO_MANY_REQUESTS", () => limit.take("a"));
});

test.run();
