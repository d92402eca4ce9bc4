/** A service's name at a real BIND: who may change it, and what happens when that goes wrong. */
import * as assert from "uvu/assert";
import { type ClaimOptions, claimName, markerName } from "../../src/dns/claim.js";
import { lookup, shows } from "../../src/dns/lookup.js";
import { updateRecords } from "../../src/dns/update.js";
import { rejectsWith } from "../lib/errors.js";
import { type Bind, newKey, openBind, zone } from "../lib/name-server.js";
import { requires } from "../lib/requires.js";
import { suite } from "../lib/suite.js";

const test = suite("DNS update");
let bind: Bind;
let count = 0;

test.before(async () => {
  bind = await openBind();
});

test.after(async () => {
  await bind?.close();
});

function claim(change: Partial<ClaimOptions> = {}): ClaimOptions {
  return {
    server: bind,
    key: bind.key,
    zone,
    name: `first.${zone}`,
    addresses: ["192.0.2.1"],
    ttlSeconds: 20,
    serviceId: "service-1",
    epoch: 2,
    isOwner: () => true,
    ...change,
  };
}

/** A name no other test uses. */
function newName(): string {
  count += 1;
  return `name-${count}.${zone}`;
}

test("a name is made, and shown with its TTL to any client", async () => {
  const name = newName();
  const made = await claimName(claim({ name }));
  assert.equal(made, { outcome: "changed", previous: [] });
  assert.equal(await bind.dig(name, "A"), ["192.0.2.1"]);
  const found = await lookup(name, { server: bind });
  assert.equal(found, { addresses: ["192.0.2.1"], ttlSeconds: 20 });
  assert.ok(shows(found, ["192.0.2.1"]));
  assert.not.ok(shows(found, ["192.0.2.1", "192.0.2.2"]));
  assert.equal(await lookup(newName(), { server: bind }), { addresses: [], ttlSeconds: 0 });
});

test("what was there before UMS is replaced", async () => {
  const name = newName();
  await bind.nsupdate(`update add ${name} 300 A 192.0.2.9`, `update add ${name} 300 A 192.0.2.8`);
  const { previous } = await claimName(claim({ name }));
  assert.equal(previous.sort(), ["192.0.2.8", "192.0.2.9"]);
  assert.equal(await bind.dig(name, "A"), ["192.0.2.1"]);
});

test("the next owner replaces the last one's address; to do it again changes nothing", async () => {
  const name = newName();
  await claimName(claim({ name }));
  const next = claim({ name, epoch: 3, addresses: ["192.0.2.2"] });
  assert.equal(await claimName(next), { outcome: "changed", previous: ["192.0.2.1"] });
  const serial = await bind.dig(zone, "SOA");
  assert.is((await claimName(next)).outcome, "unchanged");
  assert.equal(await bind.dig(zone, "SOA"), serial);
  assert.equal(await bind.dig(name, "A"), ["192.0.2.2"]);
});

test("both families change together", async () => {
  const name = newName();
  await claimName(claim({ name, addresses: ["192.0.2.1", "2001:DB8:0::1"] }));
  assert.equal(await bind.dig(name, "AAAA"), ["2001:db8::1"]);
  await claimName(claim({ name, epoch: 3, addresses: ["2001:db8::2"] }));
  assert.equal(await bind.dig(name, "AAAA"), ["2001:db8::2"]);
  assert.equal(await bind.dig(name, "A"), [], "no client goes on to the old place");
  assert.ok(shows(await lookup(name, { server: bind }), ["2001:DB8::2"]));
});

test("an owner of an older epoch that comes late changes nothing", async () => {
  const name = newName();
  await claimName(claim({ name, epoch: 5 }));
  const late = claim({ name, epoch: 4, addresses: ["192.0.2.66"] });
  const error = await rejectsWith("ERR_DNS_CONFLICT", claimName(late));
  assert.match(error.message, "newer owner (epoch 5, ours 4)");
  assert.equal(await bind.dig(name, "A"), ["192.0.2.1"]);
});

test("another service with the same name is refused", async () => {
  const name = newName();
  await claimName(claim({ name }));
  const other = claim({ name, serviceId: "service-2", epoch: 9, addresses: ["192.0.2.66"] });
  const error = await rejectsWith("ERR_DNS_CONFLICT", claimName(other));
  assert.match(error.message, "another service (service-1)");
  assert.match(error.hint ?? "", markerName(name));
  await bind.nsupdate(`update delete ${markerName(name)} TXT`);
  await claimName(other);
  assert.equal(await bind.dig(name, "A"), ["192.0.2.66"]);
});

test("a name that somebody pointed elsewhere stays so", async () => {
  const name = newName();
  await claimName(claim({ name }));
  await bind.nsupdate(`update delete ${name} A`, `update add ${name} 300 A 198.51.100.1`);
  const next = claim({ name, epoch: 3, addresses: ["192.0.2.2"] });
  const error = await rejectsWith("ERR_DNS_CONFLICT", claimName(next));
  assert.match(error.message, "shows 198.51.100.1, where this service had put 192.0.2.1");
  assert.equal(await bind.dig(name, "A"), ["198.51.100.1"]);
});

test("a change between reading and writing is noticed by the server", async () => {
  const name = newName();
  await claimName(claim({ name }));
  const expected = [{ name, type: "A" as const, data: ["192.0.2.1"] }];
  const wanted = [{ name, type: "A" as const, data: ["192.0.2.2"] }];
  const update = { ...claim(), expected, wanted };
  await updateRecords(update);
  const error = await rejectsWith("ERR_DNS_CONFLICT", updateRecords(update));
  assert.is(error.details["reason"], "NXRRSET");
  const absent = [{ name, type: "A" as const, data: [] }];
  const again = await rejectsWith(
    "ERR_DNS_CONFLICT",
    updateRecords({ ...update, expected: absent }),
  );
  assert.is(again.details["reason"], "YXRRSET");
  assert.equal(await bind.dig(name, "A"), ["192.0.2.2"]);
});

test("who does not own the service any more writes nothing", async () => {
  const name = newName();
  await rejectsWith("ERR_EPOCH_STALE", claimName(claim({ name, isOwner: () => false })));
  assert.equal(await bind.dig(name, "A"), []);
});

test("an alias is not replaced", async () => {
  const error = await rejectsWith("ERR_DNS_CONFLICT", claimName(claim({ name: `alias.${zone}` })));
  assert.match(error.message, "is an alias");
});

test("a wrong secret, an unknown key and a key without rights are told apart", async () => {
  const name = newName();
  const { algorithm } = bind.key;
  const cases: [Partial<ClaimOptions>, string][] = [
    [{ key: newKey(bind.key.name, algorithm) }, "BADSIG"],
    [{ key: newKey("unheard-of.", algorithm) }, "BADKEY"],
    [{ key: { ...bind.key, algorithm: "hmac-sha384" } }, "BADKEY"],
    [{ key: bind.narrowKey }, "REFUSED"],
  ];
  for (const [change, reason] of cases) {
    const error = await rejectsWith("ERR_DNS_REFUSED", claimName(claim({ name, ...change })));
    assert.is(error.details["reason"], reason);
    for (const key of [bind.key, change.key]) {
      const secret = key?.secret.toString("base64") ?? "";
      assert.not.match(JSON.stringify([error.message, error.hint, error.details]), secret);
    }
  }
  assert.equal(await bind.dig(name, "A"), []);
});

test("the rights that docs/dns.md says to grant are enough, and end there", async () => {
  const narrow = { key: bind.narrowKey, name: `narrow.${zone}` };
  await claimName(claim(narrow));
  await claimName(claim({ ...narrow, epoch: 3, addresses: ["192.0.2.2", "2001:db8::2"] }));
  assert.equal(await bind.dig(narrow.name, "A"), ["192.0.2.2"]);
});

test("clocks that differ by an hour are told as such", async () => {
  const nowSeconds = () => Math.floor(Date.now() / 1000) - 3_600;
  const error = await rejectsWith(
    "ERR_DNS_REFUSED",
    claimName(claim({ name: newName(), nowSeconds })),
  );
  assert.is(error.details["reason"], "BADTIME");
  assert.match(error.message, /differ by 3(599|600|601) s/);
});

test("a zone the server does not have", async () => {
  const error = await rejectsWith(
    "ERR_DNS_REFUSED",
    claimName(claim({ name: "x.other.example", zone: "other.example" })),
  );
  assert.is(error.details["reason"], "REFUSED");
});

test("a server that is down is unreachable, and takes the change when it is up again", async () => {
  const name = newName();
  await bind.stop();
  try {
    await rejectsWith("ERR_DNS_UNREACHABLE", claimName(claim({ name })));
  } finally {
    await bind.start();
  }
  await claimName(claim({ name }));
  assert.equal(await bind.dig(name, "A"), ["192.0.2.1"]);
});

test("a claim that is not wanted any more ends at once", async () => {
  const signal = AbortSignal.abort();
  await rejectsWith("ERR_CANCELLED", claimName(claim({ name: newName(), signal })));
});

for (const algorithm of ["hmac-sha384", "hmac-sha512"] as const) {
  test(`a key of ${algorithm}`, async () => {
    const other = await openBind("127.0.0.1", algorithm);
    try {
      await claimName(claim({ server: other, key: other.key }));
      assert.equal(await other.dig(`first.${zone}`, "A"), ["192.0.2.1"]);
    } finally {
      await other.close();
    }
  });
}

if (requires("root", "named", "dig", "nsupdate")) test.run();
