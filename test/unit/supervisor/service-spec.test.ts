import * as assert from "uvu/assert";
import { loadConfig } from "../../../src/config.js";
import type { ImageInspection } from "../../../src/dockerd/images.js";
import { UmsError } from "../../../src/errors.js";
import { describeExit, failureExitCode } from "../../../src/supervisor/exit.js";
import { registryAuth } from "../../../src/supervisor/image.js";
import { buildSpec, isSameSpec, networkOf } from "../../../src/supervisor/service-spec.js";
import type { Surroundings } from "../../../src/supervisor/surroundings.js";
import { suite } from "../../lib/suite.js";

const test = suite("specification from the surroundings");

const image: ImageInspection = {
  id: "sha256:1",
  layers: ["sha256:a"],
  config: {
    env: ["IMAGE_VAR=1"],
    entrypoint: [],
    command: [],
    exposedPorts: [],
    volumes: ["/data", "/given/"],
    workingDir: "/app",
    user: "",
    stopSignal: "SIGQUIT",
    labels: {},
    healthcheck: undefined,
  },
};

const surroundings: Surroundings = {
  environment: ["IMAGE_VAR=1", "A=1"],
  workingDir: "/app",
  hostname: "web-1",
  mounts: [{ destination: "/given", readOnly: false, origin: "outer" }],
  readOnlyRootfs: false,
  shmBytes: 67_108_864,
  openFiles: { soft: 1_024, hard: 4_096 },
  isTty: false,
  hasStdin: false,
};

function build(env: NodeJS.ProcessEnv = {}, args: string[] = [], change = {}) {
  return buildSpec({
    config: loadConfig(env),
    surroundings: { ...surroundings, ...change },
    image,
    imageReference: "web:1",
    ownWorkingDir: "/app",
    args,
    serviceId: "s1",
  });
}

test("says nothing where the image's own value holds", () => {
  const { process, name } = build();
  assert.equal(process, { env: ["A=1"], isTty: false, hasStdin: false, stopSignal: "SIGQUIT" });
  assert.is(name, "web-1");
});

test("arguments win over UMS_COMMAND", () => {
  assert.equal(build({ UMS_COMMAND: '["c"]' }, ["a"]).process.command, ["a"]);
  assert.equal(build({ UMS_COMMAND: '["c"]' }).process.command, ["c"]);
});

test("a working directory that the outer image does not set is the user's wish", () => {
  assert.is(build({}, [], { workingDir: "/" }).process.workingDir, "/");
});

test("volumes of the image that nobody mounted are named", () => {
  assert.equal(build().mounts, [
    { destination: "/given", readOnly: false, origin: "outer" },
    { destination: "/data", readOnly: false, origin: "volume" },
  ]);
});

test("two specifications are the same but for their id", () => {
  assert.ok(isSameSpec(build(), { ...build(), serviceId: "s2" }));
  assert.not.ok(isSameSpec(build(), build({ UMS_USER: "app" })));
});

test("gateway and service take the first two addresses", () => {
  assert.equal(networkOf("10.209.0.8/29"), {
    subnet: "10.209.0.8/29",
    gateway: "10.209.0.9",
    address: "10.209.0.10",
  });
  assert.throws(() => networkOf("10.209.0.1/29"), /not a network address/);
  assert.throws(() => networkOf("10.300.0.0/29"), /not a network address/);
});

test("credentials are those of the reference's registry", () => {
  const auth = Buffer.from("me:pass:word").toString("base64");
  const file = JSON.stringify({ auths: { "reg.example:5000": { auth } } });
  assert.equal(registryAuth("reg.example:5000/a/b:1", file), {
    username: "me",
    password: "pass:word",
    serveraddress: "reg.example:5000",
  });
  assert.is(registryAuth("library/redis", file), undefined);
});

test("failures have the exit codes of docker run and sysexits", () => {
  const code = (message: string) => failureExitCode(new UmsError("ERR_COMMAND_FAILED", message));
  assert.is(code('exec: "x": executable file not found in $PATH'), 127);
  assert.is(code('exec: "/etc": permission denied'), 126);
  assert.is(code("anything else"), 125);
  assert.is(failureExitCode(new UmsError("ERR_DOCKERD_NOT_READY", "late")), 69);
  assert.is(failureExitCode(new UmsError("ERR_CONFIG_INVALID", "wrong")), 78);
  assert.is(failureExitCode(new UmsError("ERR_JOURNAL_CORRUPT", "torn")), 78);
});

test("the reason of an end names signal and memory", () => {
  assert.match(describeExit({ exitCode: 139, outOfMemory: false }), "signal 11");
  assert.match(describeExit({ exitCode: 137, outOfMemory: true }), "out of memory");
});

test.run();
