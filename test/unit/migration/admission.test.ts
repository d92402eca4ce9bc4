/** Who is let in, and that a token is used up for ever. */
import * as assert from "uvu/assert";
import { type ErrorCode, UmsError } from "../../../src/errors.js";
import { matcherOf } from "../../../src/lib/patterns.js";
import { type Admit, createAdmission } from "../../../src/migration/admission.js";
import type { Arrival } from "../../../src/migration/destination-role.js";
import { createTokens } from "../../../src/peer/token.js";
import { rejectsWith } from "../../lib/errors.js";
import { fakeFacts, fakeSpec } from "../../lib/fake-sides.js";
import { type Pair, phaseOf, withPair } from "../../lib/migration-pair.js";
import { suite } from "../../lib/suite.js";

const test = suite("admission");

const tokens = createTokens({ key: new Uint8Array(32).fill(7), ownName: () => "b" });
const noLimits = { source: "a" };
const ref = { migrationId: "00000000-0000-4000-8000-000000000001", epoch: 2 };

function arrivalOf(change: Partial<Arrival> = {}): Arrival {
  return {
    ref,
    departure: { spec: fakeSpec, memoryBytes: 1_000, diskBytes: 1 },
    facts: fakeFacts,
    source: { address: "source:9750", name: "a" },
    thumbprint: "thumbprint-of-a",
    token: "",
    ...change,
  };
}

function admissionOf(...patterns: string[]): { admit: Admit; clock: { ms: number } } {
  const clock = { ms: 0 };
  const isAllowed = matcherOf(patterns);
  return { admit: createAdmission({ isAllowed, tokens, nowMs: () => clock.ms }), clock };
}

async function newToken(order = {}): Promise<string> {
  return (await tokens.issue({ ...noLimits, ...order })).token;
}

test("without a list nobody comes in without a token", async () => {
  const { admit } = admissionOf();
  const error = await rejectsWith("ERR_NOT_ALLOWED", admit(arrivalOf()));
  assert.match(error.hint ?? "", "ums token --from a");
  assert.match(error.hint ?? "", "UMS_ALLOW_FROM");
  const { tokenId } = await admit(arrivalOf({ token: await newToken() }));
  assert.ok(tokenId);
});

test("who is on the list needs none, others do", async () => {
  const { admit } = admissionOf("edge-*", "!edge-9");
  const from = (name: string) => arrivalOf({ source: { address: "x:1", name } });
  assert.equal(await admit(from("edge-1")), {});
  for (const name of ["edge-9", "edge", "a"])
    await rejectsWith("ERR_NOT_ALLOWED", admit(from(name)));
});

test("a token that is shown must be good, also from who is on the list", async () => {
  const { admit } = admissionOf("*");
  await rejectsWith("ERR_TOKEN_REFUSED", admit(arrivalOf({ token: "nonsense" })));
  const small = await newToken({ maxMemoryBytes: 999 });
  await rejectsWith("ERR_TOKEN_REFUSED", admit(arrivalOf({ token: small })));
  const enough = await newToken({ maxMemoryBytes: 1_000, service: "service-1" });
  assert.is((await admit(arrivalOf({ token: enough }))).maxMemoryBytes, 1_000);
});

test("after many bad tokens a source must wait, others need not", async () => {
  const { admit, clock } = admissionOf();
  const bad = arrivalOf({ token: "nonsense" });
  for (let count = 0; count < 10; count += 1) await rejectsWith("ERR_TOKEN_REFUSED", admit(bad));
  const good = arrivalOf({ token: await newToken() });
  await rejectsWith("ERR_TOO_MANY_REQUESTS", admit(bad));
  await rejectsWith("ERR_TOO_MANY_REQUESTS", admit(good));
  const other = { address: "x:1", name: "c" };
  await admit(arrivalOf({ source: other, token: await newToken({ source: "c" }) }));
  clock.ms = 10_000;
  await admit(good);
  await admit(good);
});

test("a source that is refused reaches nothing, and its service is not touched", async () => {
  await withPair(
    async ({ events, migrate, source, destination }) => {
      const { outcome, failure } = await migrate();
      assert.is(outcome, "aborted");
      assert.is(failure?.code, "ERR_NOT_ALLOWED");
      await phaseOf(source, "ACTIVE");
      assert.is(events.count("source.freeze"), 0);
      const touched = events.list.filter((step) => step.startsWith("destination."));
      assert.equal(touched, []);
      assert.is(destination.runner.state.phase, "PASSIVE");
      assert.is(destination.journal.last, undefined);
    },
    { admit: admissionOf().admit },
  );
});

test("a token is used up by the migration that it let in, and by its failure", async () => {
  await withPair(
    async (pair) => {
      const token = await newToken();
      await failWith(pair, token);
      await expectUsed(pair, token);
      await pair.restartDestination();
      await expectUsed(pair, token);
      assert.is((await pair.migrate(10_000, await newToken())).outcome, "moved", "a fresh one");
    },
    { admit: admissionOf().admit },
  );
});

test("a token that was used stays so when later migrations came and went", async () => {
  await withPair(
    async (pair) => {
      const token = await newToken();
      await failWith(pair, token);
      for (let count = 0; count < 3; count += 1) await failWith(pair, await newToken());
      await pair.restartDestination();
      await expectUsed(pair, token);
    },
    { admit: admissionOf().admit },
  );
});

test("a token is used up although the supervisor dies right after the record", async () => {
  await withPair(
    async (pair) => {
      const token = await newToken();
      await pair.destination.runner.reserve(arrivalOf({ token }));
      await pair.restartDestination();
      assert.is(pair.destination.runner.state.phase, "REFUSED");
      await expectUsed(pair, token);
    },
    { admit: admissionOf().admit },
  );
});

test("a reservation that could not be made leaves the token good", async () => {
  await withPair(
    async (pair) => {
      const token = await newToken();
      pair.events.script.set("destination.reserve", () => {
        throw new UmsError("ERR_NO_ROOM", "scripted");
      });
      assert.is((await pair.migrate(10_000, token)).failure?.code, "ERR_NO_ROOM");
      pair.events.script.delete("destination.reserve");
      await phaseOf(pair.source, "ACTIVE");
      assert.is((await pair.migrate(10_000, token)).outcome, "moved");
    },
    { admit: admissionOf().admit },
  );
});

test("a reservation that comes again is answered again, and is no second use", async () => {
  await withPair(
    async ({ events, destination }) => {
      const arrival = arrivalOf({ token: await newToken() });
      const [first, second] = await Promise.all([
        destination.runner.reserve(arrival),
        destination.runner.reserve(arrival),
      ]);
      assert.equal(second, first);
      assert.equal(await destination.runner.reserve(arrival), first);
      assert.is(events.count("destination.reserve"), 1, "the side was asked again");
      assert.is(events.count("record RESERVED"), 1);
    },
    { admit: admissionOf().admit },
  );
});

test("two migrations with one token at once: one comes in", async () => {
  await withPair(
    async ({ destination }) => {
      const token = await newToken();
      const other = { migrationId: ref.migrationId.replace(/1$/, "2"), epoch: 2 };
      await expectOne("ERR_TOKEN_REFUSED", [
        destination.runner.reserve(arrivalOf({ token })),
        destination.runner.reserve(arrivalOf({ token, ref: other })),
      ]);
    },
    { admit: admissionOf().admit },
  );
});

test("a reservation is nobody else's, also to somebody who is let in", async () => {
  await withPair(
    async ({ destination }) => {
      const arrival = arrivalOf();
      await destination.runner.reserve(arrival);
      const thief = { ...arrival, source: { address: "x:1", name: "c" } };
      await rejectsWith("ERR_PEER_IDENTITY", destination.runner.reserve(thief));
    },
    { admit: admissionOf("*").admit },
  );
});

test("two sources with one migration id at once: one has it", async () => {
  await withPair(
    async ({ destination }) => {
      const arrival = arrivalOf();
      const thief = { ...arrival, source: { address: "x:1", name: "c" } };
      await expectOne("ERR_PEER_IDENTITY", [
        destination.runner.reserve(arrival),
        destination.runner.reserve(thief),
      ]);
    },
    { admit: admissionOf("*").admit },
  );
});

/** Whoever is first comes in, the other is refused. */
async function expectOne(code: ErrorCode, asked: Promise<unknown>[]): Promise<void> {
  const outcomes = await Promise.allSettled(asked);
  const refusals = outcomes.filter(({ status }) => status === "rejected");
  assert.is(refusals.length, asked.length - 1);
  for (const { reason } of refusals as PromiseRejectedResult[]) assert.is(reason.code, code);
}

async function failWith({ events, migrate, source }: Pair, token: string): Promise<void> {
  events.script.set("destination.arm", () => {
    throw new UmsError("ERR_NETWORK_SETUP", "scripted");
  });
  assert.is((await migrate(10_000, token)).failure?.code, "ERR_NETWORK_SETUP");
  events.script.delete("destination.arm");
  await phaseOf(source, "ACTIVE");
}

async function expectUsed(pair: Pair, token: string): Promise<void> {
  const reserved = pair.events.count("destination.reserve");
  const { failure } = await pair.migrate(10_000, token);
  assert.is(failure?.code, "ERR_TOKEN_REFUSED");
  assert.match(failure?.message ?? "", "was used for migration");
  await phaseOf(pair.source, "ACTIVE");
  assert.is(pair.events.count("destination.reserve"), reserved);
}

test.run();
