import * as assert from "uvu/assert";
import { parseAddress, refuseAddress, resolveAddress } from "../../../src/peer/address.js";
import { rejectsWith, throwsWith } from "../../lib/errors.js";
import { suite } from "../../lib/suite.js";

const test = suite("peer addresses");

test("host and port are parsed, the port has a default", () => {
  assert.equal(parseAddress("b.example:1234"), { host: "b.example", port: 1234 });
  assert.equal(parseAddress("b_1"), { host: "b_1", port: 9750 });
  assert.equal(parseAddress("10.1.2.3:1"), { host: "10.1.2.3", port: 1 });
  assert.equal(parseAddress("[2001:db8::1]"), { host: "2001:db8::1", port: 9750 });
  assert.equal(parseAddress("[2001:db8::1]:65535"), { host: "2001:db8::1", port: 65_535 });
});

test("anything else is a usage error", () => {
  const wrong = ["", ":1", "a:", "a:0", "a:65536", "a:1:2", "a b", "a/b", "2001:db8::1"];
  for (const text of [...wrong, "[10.1.2.3]", "[x]", "user@a", "a:-1", "a:1e3", "x".repeat(254)]) {
    throwsWith("ERR_CONFIG_INVALID", () => parseAddress(text));
  }
});

test("addresses that are nobody's, everybody's or our own are refused, however written", () => {
  const options = { own: ["10.0.0.5", "2001:db8::5"] };
  const refused = [
    ["0.0.0.0", "unspecified"],
    ["0.1.2.3", "unspecified"],
    ["::", "unspecified"],
    ["169.254.169.254", "metadata"],
    ["::ffff:169.254.169.254", "metadata"],
    ["::ffff:a9fe:a9fe", "metadata"],
    ["0:0:0:0:0:ffff:169.254.169.254", "metadata"],
    ["::169.254.169.254", "metadata"],
    ["64:ff9b::169.254.169.254", "metadata"],
    ["64:ff9b::a9fe:a9fe", "metadata"],
    ["2002:a9fe:a9fe::1", "metadata"],
    ["100.100.100.200", "metadata"],
    ["192.0.0.192", "metadata"],
    ["168.63.129.16", "metadata"],
    ["fd20:ce::254", "metadata"],
    ["fd00:ec2::23", "metadata"],
    ["fe80::1%eth0", "link-local"],
    ["fec0::1", "link-local"],
    ["0:0:0:0:0:0:0:0", "unspecified"],
    ["::ffff:0.0.0.0", "unspecified"],
    ["::ffff:224.0.0.1", "multicast"],
    ["::ffff:255.255.255.255", "broadcast"],
    ["239.255.255.255", "multicast"],
    ["ff0e::1", "multicast"],
    ["0:0:0:0:0:0:0:1", "this container"],
    ["::ffff:127.0.0.1", "this container"],
    ["::ffff:7f00:1", "this container"],
    ["::127.0.0.1", "this container"],
    ["64:ff9b::10.0.0.5", "this container"],
    ["2002:a00:5::1", "this container"],
    ["2001:DB8:0:0::5", "this container"],
    ["fe80::1", "link-local"],
    ["febf::1", "link-local"],
    ["fd00:ec2::254", "metadata"],
    ["224.0.0.1", "multicast"],
    ["255.255.255.255", "broadcast"],
    ["ff02::1", "multicast"],
    ["127.0.0.1", "this container"],
    ["127.9.9.9", "this container"],
    ["::1", "this container"],
    ["10.0.0.5", "this container"],
    ["::ffff:10.0.0.5", "this container"],
    ["2001:db8::5", "this container"],
  ] as const;
  for (const [address, reason] of refused) {
    assert.match(refuseAddress(address, options) ?? "accepted", reason, address);
  }
  const fine = ["10.0.0.6", "172.17.0.2", "192.0.2.1", "169.253.1.1", "100.64.0.1", "223.1.1.1"];
  const fine6 = ["fd00::1", "2001:db8::6", "::ffff:10.0.0.6", "64:ff9b::10.0.0.6", "2002:a00:6::1"];
  for (const address of [...fine, ...fine6]) {
    assert.is(refuseAddress(address, options), undefined, address);
  }
});

test("own addresses can be allowed, the others never", () => {
  const options = { own: ["10.0.0.5"], allowOwn: true };
  assert.is(refuseAddress("127.0.0.1", options), undefined);
  assert.is(refuseAddress("10.0.0.5", options), undefined);
  assert.ok(refuseAddress("169.254.1.1", options));
});

test("what a name resolves to is checked and pinned", async () => {
  await rejectsWith("ERR_CONFIG_INVALID", resolveAddress("localhost"));
  // getaddrinfo reads this as 169.254.169.254.
  await rejectsWith("ERR_CONFIG_INVALID", resolveAddress("2852039166:80"));
  const address = await resolveAddress("localhost:77", { allowOwn: true });
  assert.ok(["127.0.0.1", "::1"].includes(address.host));
  assert.is(address.port, 77);
});

test("an address is refused in brackets, and in the odd forms a resolver takes", async () => {
  for (const text of ["[fe80::1]:9750", "[::ffff:169.254.169.254]", "0xa9fea9fe", "0"]) {
    await rejectsWith("ERR_CONFIG_INVALID", resolveAddress(text));
  }
});

test("a name that does not resolve is unreachable", async () => {
  const error = await rejectsWith("ERR_PEER_UNREACHABLE", resolveAddress("no-such-host.invalid"));
  assert.match(error.message, "no-such-host.invalid");
});

test.run();
