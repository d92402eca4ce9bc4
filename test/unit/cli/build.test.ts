import * as assert from "uvu/assert";
import { outerConfig } from "../../../src/cli/build.js";
import type { ImageInspection } from "../../../src/dockerd/images.js";
import { suite } from "../../lib/suite.js";

const test = suite("configuration that ums build carries over");

function nested(change: Partial<ImageInspection["config"]> = {}): ImageInspection {
  return {
    id: "sha256:1",
    layers: [],
    config: {
      env: ["PATH=/opt/bin", "A=two\nlines"],
      entrypoint: ["/run"],
      command: ["x"],
      exposedPorts: ["53/udp"],
      volumes: ["/data"],
      workingDir: "/app",
      user: "app",
      stopSignal: undefined,
      labels: { a: "b" },
      healthcheck: undefined,
      ...change,
    },
  };
}

test("is what an orchestrator looks at; entrypoint, command, user and PATH stay the outer's", () => {
  assert.equal(outerConfig(nested()), {
    Env: ["A=two\nlines"],
    ExposedPorts: { "53/udp": {} },
    Volumes: { "/data": {} },
    WorkingDir: "/app",
    Labels: { a: "b" },
  });
});

test("has a stop signal only where the entrypoint can forward it", () => {
  assert.is(outerConfig(nested({ stopSignal: "SIGQUIT" }))["StopSignal"], "SIGQUIT");
  assert.not.ok("StopSignal" in outerConfig(nested({ stopSignal: "SIGRTMIN+3" })));
});

test("asks for the nested health as often, with time for the outer's own start", () => {
  const healthcheck = { Test: ["CMD", "true"], Interval: 7e9, Timeout: 1e9, StartPeriod: 2e9 };
  assert.equal(outerConfig(nested({ healthcheck }))["Healthcheck"], {
    Test: ["CMD", "/usr/local/bin/ums", "health"],
    Interval: 7e9,
    Timeout: 5e9,
    StartPeriod: 62e9,
  });
  const none = { Test: ["NONE"] };
  assert.not.ok("Healthcheck" in outerConfig(nested({ healthcheck: none })));
});

test.run();
