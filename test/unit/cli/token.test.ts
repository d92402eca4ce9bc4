import { join } from "node:path";
import * as assert from "uvu/assert";
import { readOrder } from "../../../src/cli/token.js";
import { makeAuthority } from "../../lib/certificates.js";
import { rejectsWith } from "../../lib/errors.js";
import { suite } from "../../lib/suite.js";
import { withDirectory } from "../../lib/temporary.js";

const test = suite("ums token");

const ttl = "10m";

test("an order is what the flags say", async () => {
  assert.equal(await readOrder({ from: "a", ttl }), { source: "a", ttlSeconds: 600 });
  const image = [`sha256:${"1".repeat(64)}`];
  const flags = { from: "a", service: "svc", maxMemory: "2g", image, ttl: "90s" };
  assert.equal(await readOrder(flags), {
    ...{ source: "a", service: "svc", ttlSeconds: 90 },
    ...{ maxMemoryBytes: 2 * 1024 ** 3, imageIds: image },
  });
});

test("what is no duration, or no size, is a usage error", async () => {
  for (const wrong of ["", "0s", "11m", "601s", "10", "1h", "-1s", "1.5m", "NaN"]) {
    await rejectsWith("ERR_CONFIG_INVALID", readOrder({ from: "a", ttl: wrong }));
  }
  for (const maxMemory of ["", "0", "much", "-1", "1t"]) {
    await rejectsWith("ERR_CONFIG_INVALID", readOrder({ from: "a", maxMemory, ttl }));
  }
  await rejectsWith("ERR_CONFIG_INVALID", readOrder({ ttl }));
});

test("a certificate gives name and thumbprint, and must be that of a peer", async () => {
  await withDirectory(async (directory) => {
    const authority = await makeAuthority(directory);
    const certificate = join(await authority.issue("a"), "tls.crt");
    const { source, thumbprint } = await readOrder({ certificate, ttl });
    assert.is(source, "a");
    assert.match(thumbprint ?? "", /^[\w-]{43}$/);
    await rejectsWith("ERR_CONFIG_INVALID", readOrder({ certificate, from: "b", ttl }));
    const operator = join(await authority.issue("bob", "operator"), "tls.crt");
    await rejectsWith("ERR_PKI", readOrder({ certificate: operator, ttl }));
    await rejectsWith("ERR_PKI", readOrder({ certificate: join(directory, "none"), ttl }));
  });
});

test.run();
