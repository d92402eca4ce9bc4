import * as assert from "uvu/assert";
import { arrivalSpec } from "../../../src/coordinator/arrivals/spec.js";
import { destinationSpec } from "../../../src/coordinator/migrations/request.js";
import type { WorkloadMount } from "../../../src/orchestrators/workload.js";
import { throwsWith } from "../../lib/errors.js";
import { fakeWorkloadSpec } from "../../lib/fake-orchestrator.js";
import { suite } from "../../lib/suite.js";

const test = suite("coordinator arrival spec");

const mount = (kind: WorkloadMount["kind"], source: string, target: string): WorkloadMount => ({
  kind,
  source,
  target,
  isReadOnly: false,
});
const options = {
  migrationId: "12345678-abcd",
  service: "shop",
  sourcePeer: "source-peer",
  outerTls: { kind: "volume" as const, source: "tls", peerName: "p" },
  allowedBinds: ["/srv/shared/"],
};

test("the source's platform stays behind, this one's takes its place", () => {
  const source = {
    ...fakeWorkloadSpec("shop"),
    env: [
      { name: "UMS_IMAGE", value: "redis:7" },
      { name: "UMS_START_MODE", value: "active" },
      { name: "UMS_ALLOW_FROM", value: "*" },
      { name: "UMS_EVACUATE_TO", value: "x" },
    ],
    mounts: [
      mount("bind", "/etc/keys", "/etc/ums/tls/"),
      mount("volume", "state", "/var/lib/ums"),
      mount("volume", "engine", "/var/lib/docker"),
    ],
    labels: { team: "shop", "ums.migration": "old" },
  };
  const { spec, reported } = arrivalSpec(source, options);
  assert.equal(reported, []);
  assert.equal(spec.env, [
    { name: "UMS_IMAGE", value: "redis:7" },
    { name: "UMS_ALLOW_FROM", value: "source-peer" },
  ]);
  assert.equal(spec.mounts, [
    mount("volume", "ums-shop-state-12345678", "/var/lib/ums"),
    { kind: "volume", source: "tls", target: "/etc/ums/tls", isReadOnly: true },
  ]);
  assert.equal(spec.labels, {
    team: "shop",
    "ums.migration": "12345678-abcd",
    "ums.service": "shop",
  });
});

test("volumes and host directories become new volumes, told; allowed directories stay", () => {
  const source = {
    ...fakeWorkloadSpec("shop"),
    mounts: [
      mount("volume", "data", "/data"),
      mount("bind", "/home/x", "/x/y"),
      mount("bind", "/srv/shared/z", "/z"),
      mount("bind", "/srv/shared-not", "/n"),
      mount("bind", "/srv/shared/../../etc", "/e"),
      mount("tmpfs", "", "/tmp"),
      mount("config", "conf", "/conf"),
    ],
  };
  const { spec, reported } = arrivalSpec(source, { ...options, outerTls: undefined });
  assert.equal(
    spec.mounts.map(({ kind, source: from }) => [kind, from]),
    [
      ["volume", "data-12345678"],
      ["volume", "ums-shop-x-y-12345678"],
      ["bind", "/srv/shared/z"],
      ["volume", "ums-shop-n-12345678"],
      ["volume", "ums-shop-e-12345678"],
      ["tmpfs", ""],
      ["config", "conf"],
      ["volume", "ums-shop-state-12345678"],
    ],
  );
  assert.equal(
    reported.map(({ setting, effect }) => [setting, effect]),
    [
      ["mounts./data", "reported"],
      ["mounts./x/y", "reported"],
      ["mounts./n", "reported"],
      ["mounts./e", "reported"],
    ],
  );
});

test("a request changes name and published ports, of ports that there are", () => {
  const spec = fakeWorkloadSpec("shop");
  const request = (ports: Record<string, number>) => ({
    service: "shop",
    destination: { system: "b", name: "shop-2", ports },
    source: "keep" as const,
  });
  const changed = destinationSpec(spec, request({ "6379/tcp": 7_000 }));
  assert.is(changed.name, "shop-2");
  assert.is(changed.ports[0]?.published, 7_000);
  throwsWith("ERR_SPEC_INVALID", () => destinationSpec(spec, request({ "1/tcp": 7_000 })));
});

test.run();
