import * as assert from "uvu/assert";
import { manifestDigest, mergeManifests } from "../../../src/transfer/manifest.js";
import { suite } from "../../lib/suite.js";

const test = suite("manifests");

const a = { name: "a", bytes: 1, digest: "00".repeat(32) };
const b = { name: "b", bytes: 2 ** 40, digest: "ff".repeat(32) };

test("the digest does not depend on the order, and does on all else", () => {
  const digest = manifestDigest([a, b]);
  assert.match(digest, /^[0-9a-f]{64}$/);
  assert.is(manifestDigest([b, a]), digest);
  const others = [
    [a],
    [],
    [a, a, b],
    [a, { ...b, bytes: 2 }],
    [a, { ...b, name: "c" }],
    [a, { ...b, digest: a.digest }],
  ];
  for (const files of others) assert.is.not(manifestDigest(files), digest);
  assert.is(new Set(others.map(manifestDigest)).size, others.length);
});

test("parts sent over several streams give the digest of the whole", () => {
  const parts = [[b], [a]].map((files) => ({ files, digest: manifestDigest(files) }));
  assert.is(mergeManifests(parts).digest, manifestDigest([a, b]));
});

test("the encoding is fixed: both sides may run different releases", () => {
  assert.is(
    manifestDigest([a, b]),
    "6e7448ece384af89f6e1eea9a65a87c583c875511d37e40482689bcde99b8a5f",
  );
});

test.run();
