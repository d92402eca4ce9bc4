import * as assert from "uvu/assert";
import { loadConfig } from "../../../src/config.js";
import {
  announceTargets,
  dnsSettings,
  type TargetDeps,
} from "../../../src/supervisor/announce-targets.js";
import { throwsWith } from "../../lib/errors.js";
import { suite } from "../../lib/suite.js";

const dns = {
  UMS_DNS_NAME: "Web.Svc.Example.",
  UMS_DNS_SERVER: "192.0.2.53",
  UMS_DNS_TSIG_FILE: "/etc/ums/dns/key",
};
const webhook = { UMS_WEBHOOK_URL: "https://x.example/y", UMS_WEBHOOK_SECRET_FILE: "/etc/ums/s" };
const deps: TargetDeps = { ownAddress: () => "10.0.0.7", ports: async () => [] };
const test = suite("what is told of a move");

test("nothing without configuration", () => {
  assert.equal(announceTargets(loadConfig({}), deps), []);
  assert.is(dnsSettings(loadConfig({})), undefined);
});

test("the zone is the name without its first label, unless it is given", () => {
  const { name, zone, server, ttlSeconds } = dnsSettings(loadConfig(dns)) ?? fail();
  assert.equal(
    { name, zone, server, ttlSeconds },
    {
      name: "web.svc.example",
      zone: "svc.example",
      server: { host: "192.0.2.53", port: 53 },
      ttlSeconds: 30,
    },
  );
  const given = loadConfig({ ...dns, UMS_DNS_ZONE: "example", UMS_DNS_SERVER: "[2001:db8::1]:54" });
  assert.is(dnsSettings(given)?.zone, "example");
  assert.equal(dnsSettings(given)?.server, { host: "2001:db8::1", port: 54 });
});

test("name server and webhook may both be told", () => {
  const targets = announceTargets(loadConfig({ ...dns, ...webhook }), deps);
  assert.equal(
    targets.map(({ name }) => name),
    ["dns", "webhook"],
  );
});

test("a change of the address is a change of what is told", () => {
  const version = (env: NodeJS.ProcessEnv, address: string) =>
    announceTargets(loadConfig({ ...dns, ...env }), {
      ...deps,
      ownAddress: () => address,
    })[0]?.version();
  assert.is(version({}, "10.0.0.7"), version({}, "10.0.0.7"));
  assert.is.not(version({}, "10.0.0.7"), version({}, "10.0.0.8"));
  const given = { UMS_DNS_ADDRESS: "192.0.2.7, 2001:db8::7" };
  assert.is(version(given, "10.0.0.7"), version(given, "10.0.0.8"));
  assert.match(version(given, "10.0.0.7") ?? "", "192.0.2.7 2001:db8::7");
});

test("what is missing or wrong is said at the start, not after a migration", () => {
  const wrong: NodeJS.ProcessEnv[] = [
    { ...dns, UMS_DNS_SERVER: "" },
    { ...dns, UMS_DNS_TSIG_FILE: "" },
    { ...dns, UMS_DNS_SERVER: "a b" },
    { ...dns, UMS_DNS_SERVER: "ns:99999" },
    { ...dns, UMS_DNS_ZONE: "other.example" },
    { ...dns, UMS_DNS_NAME: "a..b" },
    { ...dns, UMS_DNS_ADDRESS: "10.0.0.256" },
    { ...dns, UMS_DNS_ADDRESS: "web.example" },
    { ...dns, UMS_DNS_TTL: "-1" },
    { ...webhook, UMS_WEBHOOK_SECRET_FILE: "" },
    { ...webhook, UMS_WEBHOOK_URL: "ftp://x.example" },
    { ...webhook, UMS_WEBHOOK_URL: "https://" },
  ];
  for (const env of wrong) {
    throwsWith("ERR_CONFIG_INVALID", () => announceTargets(loadConfig(env), deps));
  }
});

function fail(): never {
  throw new Error("no settings");
}

test.run();
