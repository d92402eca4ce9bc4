import * as assert from "uvu/assert";
import { loadConfig } from "../../../src/config.js";
import type { SourcePhase } from "../../../src/migration/source-state.js";
import { checkFrontConfig } from "../../../src/supervisor/front.js";
import { placeOf } from "../../../src/supervisor/place.js";
import { throwsWith } from "../../lib/errors.js";
import { suite } from "../../lib/suite.js";

const test = suite("where the service is");
const destination = { address: "[2001:db8::2]:9750", name: "b" };

test("each phase of a source is one place", () => {
  const place = (phase: SourcePhase | undefined) =>
    placeOf({ phase, destination, publicEndpoint: undefined });
  for (const phase of ["ACTIVE", "PREPARING", "PRECOPY"] as const) {
    assert.equal(place(phase), { state: "here", endpoint: undefined }, phase);
  }
  for (const phase of ["FREEZING", "FROZEN", "COMMITTED", "ABORTED", "ROLLED_BACK"] as const) {
    assert.equal(place(phase), { state: "moving" }, phase);
  }
  for (const phase of ["DONE", "RETIRED"] as const) {
    assert.equal(place(phase), { state: "elsewhere", endpoint: { host: "2001:db8::2" } }, phase);
  }
  assert.equal(place(undefined), { state: "elsewhere" });
});

test("each side's own words say how clients reach it", () => {
  const here = placeOf({ phase: "ACTIVE", destination, publicEndpoint: "a.example,80=30080" });
  assert.equal(here.endpoint, { host: "a.example", ports: { 80: 30_080 } });
  const there = { ...destination, publicEndpoint: "https://b.example" };
  const gone = placeOf({ phase: "RETIRED", destination: there, publicEndpoint: "a.example" });
  assert.equal(gone.endpoint, { host: "b.example", scheme: "https" });
});

test("a destination that talks nonsense is reached where it was reached before", () => {
  const odd = { ...destination, publicEndpoint: "x y" };
  const { endpoint } = placeOf({ phase: "DONE", destination: odd, publicEndpoint: undefined });
  assert.equal(endpoint, { host: "2001:db8::2" });
});

test("settings that cannot be used are named before anything starts", () => {
  const bad: Record<string, string>[] = [
    { UMS_FRONTMAN: "80" },
    { UMS_FRONTMAN: "80=bounce" },
    { UMS_FRONTMAN: "80=hold 81=hold" },
    { UMS_FRONTMAN: "80=hold,80=retry" },
    { UMS_FRONTMAN: "70000=retry" },
    { UMS_PUBLIC_ENDPOINT: "host:80" },
    { UMS_LIVENESS_PATH: "livez" },
    { UMS_RETRY_AFTER: "0" },
  ];
  for (const env of bad) {
    throwsWith("ERR_CONFIG_INVALID", () => checkFrontConfig(loadConfig(env)));
  }
  checkFrontConfig(loadConfig({}));
  checkFrontConfig(
    loadConfig({ UMS_FRONTMAN: "80=redirect, 443=forward", UMS_LIVENESS_PATH: "/a,/b" }),
  );
});

test.run();
