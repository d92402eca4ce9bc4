import * as assert from "uvu/assert";
import { containerOptions } from "../../../src/nested/create.js";
import { volumeName } from "../../../src/nested/names.js";
import type { ServiceSpec } from "../../../src/spec.js";
import { suite } from "../../lib/suite.js";

const test = suite("options of the nested container");

const context = { holderId: "h1", hasHookRuntime: true, maxOpenFiles: 4096 };

function spec(change: Partial<ServiceSpec> = {}): ServiceSpec {
  return {
    serviceId: "s1",
    name: "web",
    image: { reference: "web:1", id: "sha256:1", layers: [] },
    process: { env: ["A=1"], isTty: false, hasStdin: false },
    hostname: "web",
    network: { subnet: "10.209.0.0/29", gateway: "10.209.0.1", address: "10.209.0.2" },
    mounts: [],
    limits: { ulimits: [] },
    security: { addCapabilities: [], dropCapabilities: [], readOnlyRootfs: false },
    labels: {},
    ...change,
  };
}

test("leaves the image's own entrypoint, command, user and directory alone", () => {
  const options = containerOptions(spec(), context);
  for (const key of ["Entrypoint", "Cmd", "User", "WorkingDir", "StopSignal", "Hostname"]) {
    assert.not.ok(key in options, key);
  }
  assert.is(options.Image, "sha256:1");
  assert.is(options.HostConfig?.NetworkMode, "container:h1");
  assert.is(options.HostConfig?.Runtime, "ums");
});

test("uses the engine's own runtime where the hook is missing", () => {
  const options = containerOptions(spec(), { ...context, hasHookRuntime: false });
  assert.not.ok("Runtime" in (options.HostConfig ?? {}));
});

test("binds the orchestrator's mounts at the same path and names the image's volumes", () => {
  const options = containerOptions(
    spec({
      mounts: [
        { destination: "/etc/app", readOnly: true, origin: "outer" },
        { destination: "/data", readOnly: false, origin: "volume" },
      ],
    }),
    context,
  );
  assert.equal(options.HostConfig?.Binds, [
    "/etc/app:/etc/app:ro,rprivate",
    `${volumeName("/data")}:/data:rw`,
  ]);
});

test("closes stdin with the client's, except on a terminal", () => {
  const piped = { env: [], isTty: false, hasStdin: true };
  assert.is(containerOptions(spec({ process: piped }), context).StdinOnce, true);
  const terminal = { env: [], isTty: true, hasStdin: true };
  const options = containerOptions(spec({ process: terminal }), context);
  assert.is(options.StdinOnce, false);
  assert.is(options.Tty, true);
  assert.is(options.AttachStderr, false);
});

test("limits, and no more open files than the outer container may have", () => {
  const limits = {
    memoryBytes: 1_000,
    nanoCpus: 5e8,
    shmBytes: 64,
    ulimits: [{ name: "nofile", soft: 1_024, hard: 1_048_576 }],
  };
  const host = containerOptions(spec({ limits }), context).HostConfig;
  assert.is(host?.Memory, 1_000);
  assert.is(host?.NanoCpus, 5e8);
  assert.is(host?.ShmSize, 64);
  assert.equal(host?.Ulimits, [{ Name: "nofile", Soft: 1_024, Hard: 4_096 }]);
});

test.run();
