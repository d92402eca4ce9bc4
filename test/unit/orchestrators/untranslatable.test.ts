import * as assert from "uvu/assert";
import { dockerUntranslatable } from "../../../src/orchestrators/docker/untranslatable.js";
import {
  isAllowedBind,
  refuseUntranslatable,
  withoutForeignBinds,
} from "../../../src/orchestrators/untranslatable.js";
import type { Probe, WorkloadSpec } from "../../../src/orchestrators/workload.js";
import { plainSpec, richSpec, settingsOf, without } from "../../conformance/specs.js";
import { throwsWith } from "../../lib/errors.js";
import { suite } from "../../lib/suite.js";

const test = suite("untranslatable settings");

const plain = plainSpec("x", "ums/outer");
const findings = (changes: Partial<WorkloadSpec>, allowed: string[] = []) =>
  dockerUntranslatable({ ...plain, ...changes }, allowed).map(({ setting, effect }) => [
    setting,
    effect,
  ]);

test("a plain service has none on a Docker engine", () => {
  assert.equal(findings({}), []);
});

test("a Docker engine refuses configurations and sysctls of the machine", () => {
  const mount = { kind: "config", source: "c", target: "/etc/c", isReadOnly: true } as const;
  assert.equal(findings({ mounts: [mount] }), [["mounts./etc/c", "refused"]]);
  const sysctls = {
    "net.core.somaxconn": "1",
    "kernel.shmmax": "1",
    "fs.mqueue.msg_max": "1",
    "kernel.pid_max": "1",
    "fs.file-max": "1",
  };
  assert.equal(findings({ sysctls }), [
    ["sysctls.kernel.pid_max", "refused"],
    ["sysctls.fs.file-max", "refused"],
  ]);
});

test("a Docker engine checks by command, and for readiness only", () => {
  const http: Probe = { action: { kind: "http", path: "/", port: 80, isHttps: false } };
  const exec: Probe = { action: { kind: "exec", command: ["true"] } };
  assert.equal(findings({ probes: { readiness: exec } }), []);
  assert.equal(findings({ probes: { readiness: { ...exec, successThreshold: 1 } } }), []);
  assert.equal(findings({ probes: { readiness: { ...exec, successThreshold: 2 } } }), [
    ["probes.readiness.successThreshold", "reported"],
  ]);
  assert.equal(findings({ probes: { liveness: exec, readiness: http, startup: exec } }), [
    ["probes.liveness", "reported"],
    ["probes.startup", "reported"],
    ["probes.readiness", "reported"],
  ]);
});

test("sizes of volumes and parts of a second are reported", () => {
  const volume = { kind: "volume", source: "v", target: "/v", isReadOnly: false } as const;
  assert.equal(findings({ mounts: [{ ...volume, sizeBytes: 5 }] }), [
    ["mounts./v.sizeBytes", "reported"],
  ]);
  assert.equal(findings({ stopTimeoutMs: 1_500 }), [["stopTimeoutMs", "reported"]]);
  assert.equal(findings({ stopTimeoutMs: 2_000 }), []);
});

test("a host path is allowed below an allowed directory only", () => {
  const allowed = ["/srv/data/", "/etc/one.conf"];
  for (const path of ["/srv/data", "/srv/data/", "/srv/data/x/y", "/etc/one.conf"]) {
    assert.ok(isAllowedBind(path, allowed), path);
  }
  const foreign = ["/srv", "/srv/database", "/srv/data/../x", "srv/data", "", "/etc/one.conf.d"];
  for (const path of foreign) assert.not.ok(isAllowedBind(path, allowed), path);
  assert.ok(isAllowedBind("/anything", ["/"]));
  assert.not.ok(isAllowedBind("/anything", []));
});

test("a volume takes the place of a host path that is not allowed", () => {
  const bind = { kind: "bind", source: "/a", target: "/x", isReadOnly: true } as const;
  assert.equal(withoutForeignBinds([bind], ["/b"]), [{ ...bind, kind: "volume", source: "" }]);
  assert.equal(withoutForeignBinds([bind], ["/a"]), [bind]);
});

test("all that is refused is in one error, what is reported is not", () => {
  const one = { setting: "a", effect: "refused", reason: "why a" } as const;
  const two = { setting: "b", effect: "refused", reason: "why b" } as const;
  const three = { setting: "c", effect: "reported", reason: "why c" } as const;
  refuseUntranslatable([three]);
  const error = throwsWith("ERR_UNTRANSLATABLE", () => refuseUntranslatable([one, three, two]));
  assert.match(error.message, /a \(why a\); b \(why b\)/);
  assert.equal(error.details["settings"], [one, two]);
});

test("the conformance suite's rich specification leaves no field out", () => {
  const rich = richSpec("x", "ums/outer", 1);
  const bare: Required<WorkloadSpec> = {
    ...plain,
    args: [],
    hostname: "",
    user: "",
    workingDir: "",
    stopSignal: "",
    stopTimeoutMs: 0,
  };
  assert.equal(Object.keys(rich).sort(), Object.keys(bare).sort());
  const fields = plain as unknown as Record<string, unknown>;
  for (const [name, value] of Object.entries(rich)) {
    if (name !== "name" && name !== "image") assert.not.equal(value, fields[name], name);
  }
  // And taking every one out leaves the plain one.
  const all = [...settingsOf(rich).keys()].filter((setting) => setting in bare);
  assert.equal(without(rich, all), plain);
  assert.throws(() => without(rich, ["mounts./nowhere"]), /no such setting/);
});

test.run();
