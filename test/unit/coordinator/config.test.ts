import { readFile } from "node:fs/promises";
import { join } from "node:path";
import * as assert from "uvu/assert";
import {
  describeCoordinatorConfig,
  loadCoordinatorConfig,
} from "../../../src/coordinator/config.js";
import {
  evacuatePolicy,
  firstOf,
  requestPolicy,
} from "../../../src/coordinator/decisions/contract.js";
import { fromProblem, httpStatus, toProblem } from "../../../src/coordinator/problem.js";
import { UmsError } from "../../../src/errors.js";
import { throwsWith } from "../../lib/errors.js";
import { suite } from "../../lib/suite.js";

const test = suite("coordinator config");

const least = { UMS_COORDINATOR_SYSTEM: "lab" };

test("defaults", () => {
  assert.equal(loadCoordinatorConfig(least), {
    system: "lab",
    orchestrator: { kind: "docker" },
    listen: { host: "0.0.0.0", port: 9753 },
    tlsDir: "/etc/ums/tls",
    systems: [],
    stateDir: "/var/lib/ums-coordinator",
    allowedBinds: [],
    isInsecure: false,
    logLevel: "info",
  });
});

test("lists and pairs", () => {
  const config = loadCoordinatorConfig({
    ...least,
    UMS_COORDINATOR_SYSTEMS: "b=https://b.example:9753, c=https://[::1]:1",
    UMS_COORDINATOR_OUTER_TLS: "bind:/srv/tls",
    UMS_COORDINATOR_OUTER_PEER_NAME: "outer",
    UMS_COORDINATOR_LISTEN: "[::]:0",
    UMS_COORDINATOR_ALLOW_BINDS: "/a,/b",
  });
  assert.equal(config.systems, [
    { name: "b", url: "https://b.example:9753" },
    { name: "c", url: "https://[::1]:1" },
  ]);
  assert.equal(config.outerTls, { kind: "bind", source: "/srv/tls", peerName: "outer" });
  assert.equal(config.listen, { host: "::", port: 0 });
  assert.equal(config.allowedBinds, ["/a", "/b"]);
});

const wrong: [string, Record<string, string>][] = [
  ["UMS_COORDINATOR_SYSTEM", { UMS_COORDINATOR_SYSTEM: "" }],
  ["UMS_COORDINATOR_SYSTEM", { UMS_COORDINATOR_SYSTEM: "Lab 1" }],
  ["UMS_COORDINATOR_ORCHESTRATOR", { UMS_COORDINATOR_ORCHESTRATOR: "nomad" }],
  ["UMS_COORDINATOR_LISTEN", { UMS_COORDINATOR_LISTEN: "0.0.0.0:99999" }],
  ["UMS_COORDINATOR_SYSTEMS", { UMS_COORDINATOR_SYSTEMS: "b" }],
  ["UMS_COORDINATOR_SYSTEMS", { UMS_COORDINATOR_SYSTEMS: "b=http://b:1" }],
  ["UMS_COORDINATOR_SYSTEMS", { UMS_COORDINATOR_SYSTEMS: "lab=https://b:1" }],
  ["UMS_COORDINATOR_OUTER_PEER_NAME", { UMS_COORDINATOR_OUTER_TLS: "volume:x" }],
  ["UMS_COORDINATOR_OUTER_TLS", { UMS_COORDINATOR_OUTER_TLS: "x" }],
  ["UMS_COORDINATOR_INSECURE", { UMS_COORDINATOR_INSECURE: "true" }],
  ["UMS_COORDINATOR_ALLOW_BINDS", { UMS_COORDINATOR_ALLOW_BINDS: "srv" }],
];
for (const [variable, env] of wrong) {
  test(`${JSON.stringify(env)} is refused by name`, () => {
    const error = throwsWith("ERR_CONFIG_INVALID", () =>
      loadCoordinatorConfig({ ...least, ...env }),
    );
    assert.is(error.details["variable"], variable);
  });
}

test("every setting and every HTTP status is documented", async () => {
  const text = await readFile(join(process.cwd(), "docs/coordinator.md"), "utf8");
  const missing = describeCoordinatorConfig().filter(({ name }) => !text.includes(`| \`${name}\``));
  assert.equal(missing, []);
  for (const [kind, status] of Object.entries(httpStatus)) {
    assert.match(text, new RegExp(`^\\| ${kind} \\| ${status} \\|`, "m"));
  }
});

test("a problem is read back as the error it was", () => {
  const error = new UmsError("ERR_NO_ROOM", "full", { hint: "empty it", details: { a: 1 } });
  const back = fromProblem(JSON.parse(JSON.stringify(toProblem(error))));
  assert.equal(
    [back?.code, back?.message, back?.hint, back?.details],
    ["ERR_NO_ROOM", "full", "empty it", { a: 1 }],
  );
  for (const body of [undefined, "text", {}, { code: "ERR_OTHER" }, { code: "toString" }]) {
    assert.is(fromProblem(body), undefined);
  }
});

test("the policies decide what is theirs", () => {
  const request = { service: "s", destination: { system: "b" }, source: "keep" as const };
  const all = firstOf([requestPolicy, evacuatePolicy]);
  assert.is(all.decide({ type: "requested", request }), request);
  const stopping = { type: "stopping", service: "w", evacuateTo: "b", graceMs: 5_000 } as const;
  assert.equal(all.decide(stopping), {
    service: "w",
    destination: { system: "b" },
    source: "delete",
    frontman: "relay",
    downtimeBudgetMs: 5_000,
  });
  assert.is(requestPolicy.decide(stopping), undefined);
});

test.run();
