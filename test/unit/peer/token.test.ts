import { readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { SignJWT } from "jose";
import * as assert from "uvu/assert";
import { readIdentity } from "../../../src/peer/identity.js";
import {
  checkLimits,
  createTokens,
  type TokenHolder,
  type TokenOrder,
  thumbprintOf,
} from "../../../src/peer/token.js";
import { openTokenKey } from "../../../src/peer/token-key.js";
import { makeAuthority } from "../../lib/certificates.js";
import { rejectsWith, throwsWith } from "../../lib/errors.js";
import { suite } from "../../lib/suite.js";
import { withDirectory } from "../../lib/temporary.js";

const test = suite("tokens");

const key = new Uint8Array(32).fill(7);
const startMs = Date.parse("2026-11-22T12:00:00Z");
const source: TokenHolder = { name: "a", thumbprint: "thumbprint-of-a" };
const imageId = `sha256:${"1".repeat(64)}`;

function tokensOf(options: { name?: string; key?: Uint8Array; nowMs?: () => number } = {}) {
  return createTokens({
    key: options.key ?? key,
    ownName: () => options.name ?? "b",
    nowMs: options.nowMs ?? (() => startMs),
  });
}

async function issue(order: Partial<TokenOrder> = {}): Promise<string> {
  return (await tokensOf().issue({ source: "a", ...order })).token;
}

/** Signed with the right key, unless another is given, but not by `issue`. */
function forge(claims: Record<string, unknown>, header = {}, secret = key): Promise<string> {
  const seconds = startMs / 1_000;
  const good = { aud: "ums://peer/b", sub: "ums://peer/a", jti: "1", iat: seconds };
  return new SignJWT({ ...good, exp: seconds + 60, ums: {}, ...claims })
    .setProtectedHeader({ alg: "HS256", typ: "ums-migration+jwt", ...header })
    .sign(secret);
}

async function refusedFor(
  reason: string | RegExp,
  token: string,
  tokens = tokensOf(),
  holder = source,
): Promise<void> {
  const error = await rejectsWith("ERR_TOKEN_REFUSED", tokens.verify(token, holder));
  assert.match(error.message, reason);
  assert.ok(token.length < 20 || !error.message.includes(token), "the token is in the message");
}

test("a good token gives what was ordered, and every one another id", async () => {
  const limits = { service: "svc", maxMemoryBytes: 1024, imageIds: [imageId] };
  const grant = await tokensOf().verify(await issue(limits), source);
  const { tokenId, ...given } = grant;
  assert.equal(given, limits);
  const other = await tokensOf().verify(await issue(), source);
  assert.ok(tokenId.length > 30 && other.tokenId !== tokenId);
  assert.equal(Object.keys(other), ["tokenId"]);
});

test("a forged token is good but for what the other tests change", async () => {
  assert.is((await tokensOf().verify(await forge({}), source)).tokenId, "1");
});

test("it is good until it expires, and not after", async () => {
  const { token, expiresAt } = await tokensOf().issue({ source: "a", ttlSeconds: 5 });
  assert.is(expiresAt.getTime(), startMs + 5_000);
  await tokensOf({ nowMs: () => startMs + 4_999 }).verify(token, source);
  await refusedFor("expired", token, tokensOf({ nowMs: () => startMs + 5_000 }));
});

test("it is good for the source it names only", async () => {
  await refusedFor("for another source than c", await issue(), tokensOf(), {
    ...source,
    name: "c",
  });
});

test("it is good at the destination that issued it only", async () => {
  await refusedFor("for another destination", await issue(), tokensOf({ name: "c" }));
  const reborn = tokensOf({ key: new Uint8Array(32).fill(8) });
  await refusedFor("another outer container", await issue(), reborn);
});

test("it may be bound to one certificate", async () => {
  const token = await issue({ thumbprint: "thumbprint-of-a" });
  await tokensOf().verify(token, source);
  for (const thumbprint of ["another", undefined]) {
    await refusedFor("another certificate", token, tokensOf(), { name: "a", thumbprint });
  }
  const odd = await forge({ cnf: { jkt: "x" } });
  await refusedFor("another certificate", odd, tokensOf(), { name: "a", thumbprint: undefined });
});

test("an altered one is refused, whatever was altered", async () => {
  const token = await issue({ service: "svc" });
  const [header = "", body = "", signature = ""] = token.split(".");
  const claims = JSON.parse(Buffer.from(body, "base64url").toString());
  const wider = Buffer.from(JSON.stringify({ ...claims, ums: {} })).toString("base64url");
  await refusedFor("altered", `${header}.${wider}.${signature}`);
  await refusedFor("altered", `${header}.${body}.${"A".repeat(signature.length)}`);
  await refusedFor("altered", `${header}.${body}.`);
});

test("no other algorithm is taken, least of all none", async () => {
  const [, body] = (await issue()).split(".");
  for (const alg of ["none", "HS512", "ES256", "None"]) {
    const header = Buffer.from(JSON.stringify({ alg, typ: "ums-migration+jwt" }));
    await refusedFor("malformed", `${header.toString("base64url")}.${body}.`);
  }
  await refusedFor("malformed", await forge({}, { alg: "HS512" }, new Uint8Array(64).fill(7)));
});

test("another kind of JWT with the same key is not a token", async () => {
  await refusedFor("malformed", await forge({}, { typ: "JWT" }));
  await refusedFor("malformed", await forge({}, { typ: undefined }));
});

test("one that would live too long is refused, also while it is young", async () => {
  const exp = startMs / 1_000 + 601;
  await refusedFor("lives longer", await forge({ exp }));
  await refusedFor(/expired|malformed/, await forge({ exp: undefined }));
  await refusedFor(/malformed/, await forge({ jti: undefined }));
  const early = await forge({ iat: startMs / 1_000 + 60, exp: startMs / 1_000 + 90 });
  await refusedFor("clock was set back", early);
});

test("limits it does not know are refused, not ignored", async () => {
  for (const ums of [undefined, { service: 1 }, { disk: 5 }, { imageIds: ["redis"] }]) {
    await refusedFor("malformed", await forge({ ums }));
  }
});

test("what is no JWT at all is refused", async () => {
  for (const text of ["x", "..", "a.b.c", "\u0000", "e30.e30.e30", " "]) {
    await refusedFor("malformed", text);
  }
  await refusedFor("too long", "x".repeat(5_000));
});

test("an order that makes no sense is a usage error", async () => {
  const wrong: Partial<TokenOrder>[] = [
    { source: "" },
    { source: "A/b" },
    { ttlSeconds: 0 },
    { ttlSeconds: 601 },
    { ttlSeconds: 1.5 },
    { ttlSeconds: Number.NaN },
    { maxMemoryBytes: 0 },
    { maxMemoryBytes: 0.5 },
    { imageIds: ["redis:7"] },
    { imageIds: [] },
    { service: "" },
  ];
  for (const order of wrong) await rejectsWith("ERR_CONFIG_INVALID", issue(order));
});

test("limits hold for service, memory and image", () => {
  const wanted = { name: "svc", serviceId: "id-1", memoryBytes: 1024, imageId };
  checkLimits({}, wanted);
  checkLimits({ service: "svc", maxMemoryBytes: 1024, imageIds: ["x", imageId] }, wanted);
  checkLimits({ service: "id-1" }, wanted);
  const exceeded = [{ service: "other" }, { maxMemoryBytes: 1023 }, { imageIds: ["x"] }];
  for (const limits of exceeded) {
    throwsWith("ERR_TOKEN_REFUSED", () => checkLimits(limits, wanted));
  }
});

test("the thumbprint is that of RFC 8705", async () => {
  await withDirectory(async (directory) => {
    const directoryOfA = await (await makeAuthority(directory)).issue("a");
    const { X509Certificate, createHash } = await import("node:crypto");
    const certificate = new X509Certificate(readIdentity(directoryOfA).cert);
    const expected = createHash("sha256").update(certificate.raw).digest("base64url");
    assert.is(thumbprintOf(certificate), expected);
  });
});

test("the secret is made once, private, and made anew when it is not one", async () => {
  await withDirectory(async (directory) => {
    const path = join(directory, "state", "token-key");
    const made = await openTokenKey(path);
    assert.is(made.length, 32);
    assert.is((await stat(path)).mode & 0o777, 0o600);
    assert.equal(Buffer.from(await openTokenKey(path)), Buffer.from(made));
    await writeFile(path, "short");
    const again = await openTokenKey(path);
    assert.is(again.length, 32);
    assert.equal(await readFile(path), Buffer.from(again));
  });
});

test.run();
