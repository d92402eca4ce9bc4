import * as assert from "uvu/assert";
import { describeConfig, loadConfig } from "../../../src/config.js";
import type { UmsError } from "../../../src/errors.js";
import { suite } from "../../lib/suite.js";

const test = suite("configuration");

test("has a default for everything that needs one", () => {
  const config = loadConfig({});
  assert.is(config.UMS_PEER_PORT, 9750);
  assert.is(config.UMS_START_MODE, "active");
  assert.is(config.UMS_IMAGE, undefined);
  assert.equal(config.UMS_CAP_ADD, []);
});

test("converts each kind of value", () => {
  const config = loadConfig({
    UMS_COMMAND: '["a","b c"]',
    UMS_MEMORY: "512m",
    UMS_CPUS: "1.5",
    UMS_CAP_ADD: "NET_ADMIN, SYS_TIME",
    UMS_READ_ONLY: "true",
    UMS_STOP_TIMEOUT: "0",
  });
  assert.equal(config.UMS_COMMAND, ["a", "b c"]);
  assert.is(config.UMS_MEMORY, 536_870_912);
  assert.is(config.UMS_CPUS, 1.5);
  assert.equal(config.UMS_CAP_ADD, ["NET_ADMIN", "SYS_TIME"]);
  assert.is(config.UMS_READ_ONLY, true);
  assert.is(config.UMS_STOP_TIMEOUT, 0);
});

test("takes an empty value for one not given", () => {
  assert.is(loadConfig({ UMS_HTTP_PORT: "", UMS_IMAGE: "" }).UMS_HTTP_PORT, 9751);
});

for (const [name, value] of [
  ["UMS_PEER_PORT", "0"],
  ["UMS_PEER_PORT", "x"],
  ["UMS_START_MODE", "sleepy"],
  ["UMS_COMMAND", "redis-server"],
  ["UMS_COMMAND", '{"a":1}'],
  ["UMS_MEMORY", "1 elephant"],
  ["UMS_SUBNET", "10.0.0.0/31"],
  ["UMS_READ_ONLY", "perhaps"],
  ["UMS_LOG_LEVEL", "loud"],
] as const) {
  test(`refuses ${name}=${value} and names the variable`, () => {
    try {
      loadConfig({ [name]: value });
    } catch (error) {
      assert.is((error as UmsError).code, "ERR_CONFIG_INVALID");
      assert.match((error as UmsError).message, `${name}=${value}`);
      return;
    }
    assert.unreachable("accepted");
  });
}

test("describes every variable", () => {
  for (const { name, description } of describeConfig()) assert.ok(description.length > 10, name);
});

test.run();
