import { X509Certificate } from "node:crypto";
import { cp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { openIdentity, parseIdentity, readIdentity } from "../../../src/peer/identity.js";
import { formatIdentity, parseIdentityUri } from "../../../src/peer/names.js";
import { initAuthority, issueCertificate } from "../../../src/peer/pki.js";
import { expectPeer } from "../../../src/transfer/security.js";
import { issueOdd, makeAuthority } from "../../lib/certificates.js";
import { rejectsWith, throwsWith } from "../../lib/errors.js";
import { suite } from "../../lib/suite.js";
import { withDirectory } from "../../lib/temporary.js";

const test = suite("identities");

const hourMs = 3_600_000;

test("a URI names a role and a peer, and nothing else will do", () => {
  assert.equal(parseIdentityUri("ums://peer/a-1.b"), { role: "peer", name: "a-1.b" });
  assert.is(formatIdentity({ role: "operator", name: "bob" }), "ums://operator/bob");
  const wrong = ["ums://peer/", "ums://peer/A", "ums://peer/a/b", "ums://admin/a", "ums://peer"];
  for (const uri of [...wrong, "http://peer/a", "ums://peer/-a", `ums://peer/${"a".repeat(64)}`]) {
    assert.is(parseIdentityUri(uri), undefined, uri);
  }
});

test("an issued certificate is read back with its identity", async () => {
  await withDirectory(async (directory) => {
    const authority = await makeAuthority(directory);
    const identity = readIdentity(await authority.issue("a"));
    assert.equal(identity.self, { role: "peer", name: "a" });
    assert.ok(Math.abs(identity.notAfterMs - Date.now() - 825 * 24 * hourMs) < hourMs);
    const operator = readIdentity(await authority.issue("bob", "operator"));
    assert.equal(operator.self, { role: "operator", name: "bob" });
    assert.is((await stat(join(authority.directory, "ca.key"))).mode & 0o777, 0o600);
    assert.is((await stat(join(directory, "peer-a", "tls.key"))).mode & 0o777, 0o600);
  });
});

test("nothing is overwritten, and a refusal leaves nothing behind", async () => {
  await withDirectory(async (directory) => {
    const authority = await makeAuthority(directory);
    const before = await readFile(join(authority.directory, "ca.key"), "utf8");
    await rejectsWith("ERR_PKI", initAuthority(authority.directory));
    assert.is(await readFile(join(authority.directory, "ca.key"), "utf8"), before);
    const out = await authority.issue("a");
    await rejectsWith("ERR_PKI", authority.issue("a"));
    await rm(join(out, "tls.key"));
    await rejectsWith("ERR_PKI", authority.issue("a"));
    const key = await stat(join(out, "tls.key")).catch(() => undefined);
    assert.is(key, undefined);
  });
});

test("names, days and a missing authority are refused", async () => {
  await withDirectory(async (directory) => {
    const out = join(directory, "out");
    const none = { directory: join(directory, "none"), name: "a", out };
    const missing = await rejectsWith("ERR_PKI", issueCertificate(none));
    assert.match(missing.hint ?? "", "ums pki init");
    const authority = await makeAuthority(directory);
    const good = { directory: authority.directory, name: "a", out };
    for (const name of ["", "A", "a/b", "../a", "a b", "a,URI:ums://peer/b"]) {
      await rejectsWith("ERR_PKI", issueCertificate({ ...good, name }));
    }
    for (const days of [0, -1, 1.5, 3_651, Number.NaN]) {
      await rejectsWith("ERR_PKI", issueCertificate({ ...good, days }));
    }
  });
});

test("a TLS directory that cannot work is refused with the reason", async () => {
  await withDirectory(async (directory) => {
    const authority = await makeAuthority(directory);
    const good = await authority.issue("a");
    const other = await authority.issue("b");
    const stranger = await makeAuthority(join(directory, "stranger"));
    const spoil = async (reason: string, change: (path: string) => Promise<unknown>) => {
      const path = join(directory, "spoilt");
      await cp(good, path, { recursive: true });
      await change(path);
      const error = throwsWith("ERR_PKI", () => readIdentity(path));
      assert.match(error.message, reason);
      await rm(path, { recursive: true });
    };
    for (const name of ["ca.crt", "tls.crt", "tls.key"]) {
      await spoil(`${name} is not there`, (path) => rm(join(path, name)));
    }
    await spoil("tls.crt holds no certificate", (path) => writeFile(join(path, "tls.crt"), "x"));
    await spoil("tls.key cannot be used", (path) => writeFile(join(path, "tls.key"), "x"));
    await spoil("not the key", (path) => cp(join(other, "tls.key"), join(path, "tls.key")));
    const strangerCa = join(stranger.directory, "ca.crt");
    await spoil("not signed", (path) => cp(strangerCa, join(path, "ca.crt")));
  });
});

test("certificates out of their time or without one name are refused", async () => {
  await withDirectory(async (directory) => {
    const authority = await makeAuthority(directory);
    const now = Date.now();
    const uris = ["ums://peer/a"];
    const valid = { notBefore: new Date(now - hourMs), notAfter: new Date(now + hourMs) };
    const cases = [
      ["expired", { uris, ...valid, notAfter: new Date(now - 60_000) }],
      ["valid only from", { uris, ...valid, notBefore: new Date(now + 60_000) }],
      ["no ums:// name", { uris: ["http://a"], ...valid }],
      ["the names ums://peer/a, ums://peer/b", { uris: [...uris, "ums://peer/b"], ...valid }],
      ["no ums:// name", { uris: ["x, URI:ums://peer/b, "], ...valid }],
      ["the names ums://peer/a", { uris: [...uris, "x, URI:http://b"], ...valid }],
      ["the names ums://root/a", { uris: ["ums://root/a"], ...valid }],
    ] as const;
    for (const [index, [reason, odd]] of cases.entries()) {
      const out = join(directory, String(index));
      await issueOdd(authority, out, { ...odd, uris: [...odd.uris] });
      assert.match(throwsWith("ERR_PKI", () => readIdentity(out)).message, reason);
    }
    const twoNames = new X509Certificate(await readFile(join(directory, "3", "tls.crt")));
    throwsWith("ERR_PEER_IDENTITY", () => parseIdentity(twoNames));
  });
});

test("renewed files are used, and broken ones are not", async () => {
  await withDirectory(async (directory) => {
    const authority = await makeAuthority(directory);
    const path = await authority.issue("a");
    const failures: string[] = [];
    const store = openIdentity(path, { onReloadFailed: (error) => failures.push(error.message) });
    const first = store.current();
    assert.is(store.current(), first);
    const renewed = await authority.issue("b");
    await cp(join(renewed, "tls.crt"), join(path, "tls.crt"));
    assert.is(store.current(), first, "certificate and key do not fit yet");
    assert.is(failures.length, 1);
    await cp(join(renewed, "tls.key"), join(path, "tls.key"));
    assert.equal(store.current().self, { role: "peer", name: "b" });
    await rm(join(path, "tls.key"));
    assert.equal(store.current().self, { role: "peer", name: "b" });
    store.current();
    assert.is(failures.length, 2, "told once for each change");
  });
});

test("an operator is not a peer, and another peer is not the one expected", () => {
  expectPeer({ role: "peer", name: "a" });
  expectPeer({ role: "peer", name: "a" }, "a");
  throwsWith("ERR_PEER_IDENTITY", () => expectPeer({ role: "operator", name: "a" }, "a"));
  throwsWith("ERR_PEER_IDENTITY", () => expectPeer({ role: "peer", name: "b" }, "a"));
});

test.run();
