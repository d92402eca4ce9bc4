/** The signed COMMIT: who may sign, and that nothing in it can be changed. */
import * as assert from "uvu/assert";
import {
  type CommitClaims,
  signCommit,
  verifyCommit,
} from "../../../src/peer/commit-certificate.js";
import { type OwnIdentity, readIdentity } from "../../../src/peer/identity.js";
import { issueOdd, makeAuthority, type TestAuthority } from "../../lib/certificates.js";
import { rejectsWith } from "../../lib/errors.js";
import { suite } from "../../lib/suite.js";
import { withDirectory } from "../../lib/temporary.js";

const test = suite("the signed COMMIT");

const claims: CommitClaims = {
  serviceId: "s1",
  migrationId: "00000000-0000-4000-8000-000000000001",
  epoch: 2,
  digest: "sha256:d",
  source: "a",
  destination: "b",
  at: new Date().toISOString(),
};

const certificateTest = (
  name: string,
  check: (at: { authority: TestAuthority; a: OwnIdentity; b: OwnIdentity }) => Promise<void>,
) =>
  test(name, () =>
    withDirectory(async (directory) => {
      const authority = await makeAuthority(directory);
      const a = readIdentity(await authority.issue("a"));
      const b = readIdentity(await authority.issue("b"));
      await check({ authority, a, b });
    }),
  );

certificateTest("is read back with its signer, white space around it or not", async ({ a, b }) => {
  const text = await signCommit(a, claims);
  const read = await verifyCommit(`\n ${text}\n`, b);
  assert.equal(read, { claims, signer: { role: "peer", name: "a" } });
});

certificateTest("no part of it can be changed", async ({ a, b }) => {
  const [header, , signature] = (await signCommit(a, claims)).split(".");
  const forged = Buffer.from(JSON.stringify({ ...claims, epoch: 3 })).toString("base64url");
  await rejectsWith("ERR_PEER_UNTRUSTED", verifyCommit(`${header}.${forged}.${signature}`, b));
  const [otherHeader] = (await signCommit(b, { ...claims, source: "b" })).split(".");
  const payload = Buffer.from(JSON.stringify(claims)).toString("base64url");
  const swapped = `${otherHeader}.${payload}.${signature}`;
  await rejectsWith("ERR_PEER_UNTRUSTED", verifyCommit(swapped, b));
});

certificateTest("one without a signature, or of another algorithm, is none", async ({ a, b }) => {
  const [, payload, signature] = (await signCommit(a, claims)).split(".");
  for (const alg of ["none", "HS256"]) {
    const header = Buffer.from(JSON.stringify({ alg, typ: "ums-commit" })).toString("base64url");
    await rejectsWith("ERR_SPEC_INVALID", verifyCommit(`${header}.${payload}.${signature}`, b));
    await rejectsWith("ERR_SPEC_INVALID", verifyCommit(`${header}.${payload}.`, b));
  }
  for (const text of ["", "no commit", "a.b.c", "x".repeat(20_000)]) {
    await rejectsWith("ERR_SPEC_INVALID", verifyCommit(text, b));
  }
});

certificateTest("another authority's signature does not count", async ({ b }) => {
  await withDirectory(async (elsewhere) => {
    const stranger = await makeAuthority(elsewhere);
    const a = readIdentity(await stranger.issue("a"));
    await rejectsWith("ERR_PEER_UNTRUSTED", verifyCommit(await signCommit(a, claims), b));
  });
});

certificateTest(
  "a peer commits for itself only, an operator never",
  async ({ authority, a, b }) => {
    const forAnother = await signCommit(b, claims);
    await rejectsWith("ERR_PEER_IDENTITY", verifyCommit(forAnother, a));
    const operator = readIdentity(await authority.issue("a", "operator"));
    await rejectsWith("ERR_PEER_IDENTITY", verifyCommit(await signCommit(operator, claims), b));
  },
);

certificateTest("it does not expire; but its signer was valid when it signed", async ({ a, b }) => {
  const tenYearsLater = new Date(Date.now() + 3_660 * 86_400_000).toISOString();
  const late = await signCommit(a, { ...claims, at: tenYearsLater });
  await rejectsWith("ERR_PEER_UNTRUSTED", verifyCommit(late, b));
  const undated = await signCommit(a, { ...claims, at: "soon" });
  await rejectsWith("ERR_PEER_UNTRUSTED", verifyCommit(undated, b));
});

test("one signed by a certificate that has expired since is still a decision", () =>
  withDirectory(async (directory) => {
    const authority = await makeAuthority(directory);
    const b = readIdentity(await authority.issue("b"));
    const hourMs = 3_600_000;
    const validMs = Date.now() - 10 * hourMs;
    const out = `${directory}/expired`;
    await issueOdd(authority, out, {
      uris: ["ums://peer/a"],
      notBefore: new Date(validMs - hourMs),
      notAfter: new Date(validMs + hourMs),
    });
    const { readFile } = await import("node:fs/promises");
    const [cert, key] = await Promise.all(
      ["tls.crt", "tls.key"].map((name) => readFile(`${out}/${name}`, "utf8")),
    );
    const expired = { ...b, cert: cert ?? "", key: key ?? "" };
    const at = new Date(validMs).toISOString();
    const text = await signCommit(expired, { ...claims, at });
    assert.is((await verifyCommit(text, b)).signer.name, "a");
  }));

test.run();
