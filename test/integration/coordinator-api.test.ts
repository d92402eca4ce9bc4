/** What the API refuses, and how it says so. */

import { readFileSync } from "node:fs";
import { request as httpsRequest } from "node:https";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { UmsError } from "../../src/errors.js";
import { makeAuthority } from "../lib/certificates.js";
import { type Answer, type Ask, CoordinatorPair, token } from "../lib/coordinator-pair.js";
import { suite } from "../lib/suite.js";
import { withDirectory } from "../lib/temporary.js";

const test = suite("coordinator API");

function withPair(use: (pair: CoordinatorPair) => Promise<void>): () => Promise<void> {
  return () =>
    withDirectory(async (directory) => {
      const pair = await CoordinatorPair.open(directory);
      try {
        await use(pair);
      } finally {
        await pair.close();
      }
    });
}

function assertProblem({ status, headers, body }: Answer, expected: number, code: string): void {
  assert.is(body?.code, code, JSON.stringify(body));
  assert.is(status, expected);
  assert.is(body.status, expected);
  assert.match(String(headers["content-type"]), /^application\/problem\+json/);
  assert.ok(body.title && body.detail && body.type === `urn:ums:error:${code}`);
}

test(
  "requests that cannot be used",
  withPair(async (pair) => {
    await pair.fakes.a.addService("shop");
    assertProblem(await pair.migrate({ service: "none" }), 404, "ERR_SERVICE_NOT_FOUND");
    const to = (system: string) => pair.migrate({ destination: { system } });
    assertProblem(await to("nowhere"), 404, "ERR_SYSTEM_NOT_FOUND");
    assertProblem(await to("a"), 400, "ERR_SPEC_INVALID");
    assertProblem(await pair.migrate({ sources: "x" }), 400, "ERR_SPEC_INVALID");
    assertProblem(await pair.migrate({ source: "burn" }), 400, "ERR_SPEC_INVALID");
    assertProblem(await pair.migrate({ downtimeBudgetMs: "5" }), 400, "ERR_SPEC_INVALID");
    const post = (options: Ask) => pair.ask("a", "/v1/migrations", { method: "POST", ...options });
    assertProblem(await post({ text: "{" }), 400, "ERR_SPEC_INVALID");
    assertProblem(await post({ text: `"${"x".repeat(2 ** 20)}"` }), 413, "ERR_NO_ROOM");
    const plain = { text: "{}", headers: { "content-type": "text/plain" } };
    assertProblem(await post(plain), 415, "ERR_SPEC_INVALID");
    assertProblem(await pair.ask("a", "/v1/migrations/none"), 404, "ERR_MIGRATION_NOT_FOUND");
    assertProblem(await pair.ask("a", "/v1/migrations?limit=501"), 400, "ERR_SPEC_INVALID");
    assertProblem(await pair.ask("a", "/v1/migrations/..%2f..%2fx"), 400, "ERR_SPEC_INVALID");
    assertProblem(await pair.ask("a", "/v2"), 404, "ERR_SPEC_INVALID");
    assert.equal((await pair.ask("a", "/v1/migrations")).body, []);
  }),
);

test(
  "who may do what",
  withPair(async (pair) => {
    await pair.fakes.a.addService("shop");
    const { authority } = pair;
    const peer = await authority.issue("outer-1");
    const person = await authority.issue("person", "operator");
    const ask = (path: string, options: Ask) => pair.ask("b", path, options);
    const none = { headers: { authorization: "Bearer 0000000000000000" } };
    assertProblem(await ask("/v1/services", none), 401, "ERR_PEER_UNTRUSTED");
    assertProblem(await ask("/v1/services", { tls: peer }), 403, "ERR_PEER_IDENTITY");
    assert.is((await ask("/v1/services", { tls: person })).status, 200);
    // Only the Coordinator of a known system may have something made here.
    const arrival = "/v1/arrivals/00000000-0000";
    assertProblem(await ask(arrival, { tls: person }), 403, "ERR_PEER_IDENTITY");
    assertProblem(await ask(arrival, {}), 403, "ERR_PEER_IDENTITY");
    const a = join(pair.directory, "operator-a");
    assertProblem(await ask(arrival, { tls: a }), 404, "ERR_MIGRATION_NOT_FOUND");
    const site = { method: "POST", body: {}, headers: { "sec-fetch-site": "cross-site" } };
    assertProblem(await ask("/v1/migrations", site), 403, "ERR_PEER_IDENTITY");
    assert.is((await ask("/livez", { headers: { authorization: "" } })).status, 200);
    const page = await ask("/", {});
    assert.match(page.body, /<title>UMS Coordinator/);
    assert.match(String(page.headers["content-security-policy"]), /^default-src 'none'/);
  }),
);

test(
  "certificates of another authority are not believed",
  withPair(async (pair) => {
    await withDirectory(async (directory) => {
      const other = await (await makeAuthority(directory)).issue("a", "operator");
      const answer = await pair.ask("b", "/v1/services", { tls: other });
      assertProblem(answer, 401, "ERR_PEER_UNTRUSTED");
    });
  }),
);

test(
  "destinations that cannot be reached, or are somebody else",
  withPair(async (pair) => {
    await pair.fakes.a.addService("shop");
    await pair.stop("b");
    const away = await pair.settled((await pair.migrate()).body.id);
    assert.is(away.problem.code, "ERR_PEER_UNREACHABLE");
    assert.equal(pair.world.running(), ["a/shop"]);
    const [, systems] = (await pair.ask("a", "/v1/systems")).body;
    assert.is(systems.reachable, false);
    // b's place is taken by a Coordinator with the certificate of another system.
    await pair.authority.issue("c", "operator");
    await pair.start("b", {
      UMS_COORDINATOR_SYSTEM: "c",
      UMS_COORDINATOR_TLS_DIR: join(pair.directory, "operator-c"),
    });
    const other = await pair.settled((await pair.migrate()).body.id);
    assert.is(other.problem.code, "ERR_PEER_IDENTITY");
    await pair.stop("b");
    // The true one, but it does not know a.
    await pair.start("b", { UMS_COORDINATOR_SYSTEMS: "x=https://127.0.0.1:1" });
    const refused = await pair.settled((await pair.migrate()).body.id);
    assert.is(refused.problem.code, "ERR_PEER_IDENTITY");
    assert.equal(pair.world.running(), ["a/shop"]);
  }),
);

test(
  "orchestrators that are down or refuse, and settings that cannot be translated",
  withPair(async (pair) => {
    const { a, b } = pair.fakes;
    await a.addService("shop");
    a.outage = new UmsError("ERR_ORCHESTRATOR_UNAVAILABLE", "the engine does not answer");
    assertProblem(await pair.migrate(), 503, "ERR_ORCHESTRATOR_UNAVAILABLE");
    assert.is((await pair.ask("a", "/readyz")).status, 503);
    a.outage = undefined;
    const failure = async () => (await pair.settled((await pair.migrate()).body.id)).problem;
    b.lost = [{ setting: "sysctls.x", effect: "refused", reason: "not here" }];
    const untranslatable = await failure();
    assert.is(untranslatable.code, "ERR_UNTRANSLATABLE");
    assert.match(untranslatable.detail, /sysctls\.x/);
    b.lost = [];
    b.script.set("untilReady", () => {
      throw new UmsError("ERR_ORCHESTRATOR_REFUSED", "no such image");
    });
    const refused = await failure();
    assert.is(refused.code, "ERR_ORCHESTRATOR_REFUSED");
    assert.is(refused.detail, "no such image");
    b.script.clear();
    await b.addService("shop");
    assert.is((await failure()).code, "ERR_DESTINATION_OCCUPIED");
    assert.is(a.workloads.size, 1);
    assert.is(b.workloads.size, 1);
    assert.equal([...a.guards], []);
  }),
);

test(
  "events: what was missed comes again, and the end ends the stream",
  withPair(async (pair) => {
    await pair.fakes.a.addService("shop");
    const { body } = await pair.migrate();
    const all = await readEvents(pair, body.id, {});
    const states = all.filter(({ event }) => event === "state");
    assert.equal(
      states.map(({ data }) => data.state),
      ["requested", "planned", "arranging", "guarded", "migrating", "moved", "cleaning", "done"],
    );
    assert.equal(
      states.map(({ id }) => id),
      ["0", "1", "2", "3", "4", "5", "6", "7"],
    );
    assert.is(all.at(-1)?.event, "end");
    assert.is(all.at(-1)?.data.result.outcome, "moved");
    const rest = await readEvents(pair, body.id, { "last-event-id": "5" });
    assert.equal(
      rest.map(({ event, id }) => [event, id]),
      [
        ["state", "6"],
        ["state", "7"],
        ["end", "7"],
      ],
    );
  }),
);

test(
  "the OpenAPI document has every route with its errors",
  withPair(async (pair) => {
    const { body } = await pair.ask("a", "/openapi.json");
    assert.equal(Object.keys(body.paths).sort(), [
      "/livez",
      "/metrics",
      "/openapi.json",
      "/readyz",
      "/v1/arrivals/{id}",
      "/v1/arrivals/{id}/keep",
      "/v1/evacuations",
      "/v1/evacuations/{id}",
      "/v1/feasibility",
      "/v1/migrations",
      "/v1/migrations/{id}",
      "/v1/migrations/{id}/cancel",
      "/v1/migrations/{id}/events",
      "/v1/migrations/{id}/retry",
      "/v1/services",
      "/v1/services/{*}",
      "/v1/system",
      "/v1/systems",
    ]);
    const { responses } = body.paths["/v1/migrations"].post;
    assert.equal(Object.keys(responses), [
      "202",
      "400",
      "401",
      "403",
      "404",
      "409",
      "413",
      "429",
      "500",
      "502",
      "503",
      "504",
    ]);
    const problem = responses["409"].content["application/problem+json"].schema;
    assert.match(problem.$ref, /^#\/components\/schemas\//);
  }),
);

interface ServerEvent {
  id: string | undefined;
  event: string;
  // biome-ignore lint/suspicious/noExplicitAny: whatever the API sends; tests look into it.
  data: any;
}

/** Reads until the server ends the stream. */
function readEvents(
  pair: CoordinatorPair,
  id: string,
  headers: Record<string, string>,
): Promise<ServerEvent[]> {
  const options = {
    ca: readFileSync(join(pair.directory, "ca", "ca.crt")),
    checkServerIdentity: () => undefined,
    headers: { ...headers, authorization: `Bearer ${token}` },
    timeout: 30_000,
  };
  const url = `https://127.0.0.1:${pair.ports["a"]}/v1/migrations/${id}/events`;
  return new Promise((resolve, reject) => {
    const call = httpsRequest(url, options, (response) => {
      let text = "";
      response.setEncoding("utf8");
      response.on("data", (part: string) => {
        text += part;
      });
      response.once("end", () => resolve(parseEvents(text)));
      response.once("error", reject);
    });
    call.once("error", reject);
    call.once("timeout", () => call.destroy(new Error("the stream does not end")));
    call.end();
  });
}

function parseEvents(text: string): ServerEvent[] {
  return text
    .split("\n\n")
    .map(
      (block) =>
        new Map(block.split("\n").map((line) => line.split(/: (.*)/s) as [string, string])),
    )
    .filter((fields) => fields.has("event"))
    .map((fields) => ({
      id: fields.get("id"),
      event: fields.get("event") ?? "",
      data: JSON.parse(fields.get("data") ?? "null"),
    }))
    .filter(({ event }) => event !== "progress");
}

test.run();
