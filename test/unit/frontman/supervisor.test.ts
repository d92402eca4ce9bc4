/** The Frontman's questions to a supervisor's HTTP interface, over real sockets. */
import fastify from "fastify";
import * as assert from "uvu/assert";
import { createPlaceBoard, type Place, type PlaceBoard } from "../../../src/frontman/place.js";
import { type SupervisorWatch, watchSupervisor } from "../../../src/frontman/supervisor.js";
import { poll } from "../../../src/lib/deadline.js";
import { silentLogger } from "../../../src/lib/log.js";
import { serveWhereabouts } from "../../../src/supervisor/where-http.js";
import { host } from "../../lib/front.js";
import { suite } from "../../lib/suite.js";

const test = suite("frontman: asking the supervisor");
const elsewhere: Place = { state: "elsewhere", endpoint: { host: "new", ports: { 80: 8080 } } };

async function withSupervisor(
  board: PlaceBoard,
  use: (url: string) => Promise<void>,
  port = 0,
): Promise<void> {
  const server = fastify({ forceCloseConnections: true });
  serveWhereabouts(server, { where: board, name: () => "svc", isKnown: () => true });
  const url = await server.listen({ port, host });
  try {
    await use(url);
  } finally {
    await server.close();
  }
}

async function withWatch(url: string, use: (watch: SupervisorWatch) => Promise<void>) {
  const watch = watchSupervisor({ url, log: silentLogger(), waitSeconds: 2 });
  try {
    await use(watch);
  } finally {
    watch.close();
  }
}

async function state(watch: SupervisorWatch, wanted: string): Promise<void> {
  const isSo = () => watch.current().state === wanted;
  await poll(wanted, isSo, { timeoutMs: 5_000, intervalMs: 1 });
}

const json = async (response: Response) => (await response.json()) as { tag: string };

test("learns of every change at once", async () => {
  const board = createPlaceBoard({ state: "here" });
  await withSupervisor(board, (url) =>
    withWatch(url, async (watch) => {
      await state(watch, "here");
      assert.equal(watch.current().endpoint, { host });
      for (const place of [{ state: "moving" }, elsewhere, { state: "moving" }] as Place[]) {
        const startedMs = performance.now();
        board.set(place);
        await state(watch, place.state);
        const tookMs = performance.now() - startedMs;
        assert.ok(tookMs < 500, `${tookMs} ms`);
        assert.equal(watch.current().endpoint, place.endpoint);
      }
    }),
  );
});

test("waits for a change no longer than it was asked to", async () => {
  const board = createPlaceBoard({ state: "here" });
  await withSupervisor(board, async (url) => {
    const first = await json(await fetch(`${url}/v1/service`));
    assert.equal({ ...first, tag: "" }, { tag: "", name: "svc", state: "here", endpoint: null });
    const startedMs = performance.now();
    const again = await fetch(`${url}/v1/service?known=${first.tag}&waitSeconds=1`);
    assert.equal(await again.json(), first);
    assert.ok(performance.now() - startedMs > 900);
    const wrong = await fetch(`${url}/v1/service?known=another&waitSeconds=10`);
    assert.equal(await wrong.json(), first);
    assert.is((await fetch(`${url}/v1/service?waitSeconds=61`)).status, 400);
  });
});

test("takes only so many questions at a time", async () => {
  const board = createPlaceBoard({ state: "here" });
  await withSupervisor(board, async (url) => {
    const { tag } = await json(await fetch(`${url}/v1/service`));
    const ask = () => fetch(`${url}/v1/service?known=${tag}&waitSeconds=30`);
    const asking = Array.from({ length: 65 }, ask);
    assert.is((await Promise.race(asking)).status, 503);
    board.set({ state: "moving" });
    const statuses = (await Promise.all(asking)).map(({ status }) => status);
    assert.is(statuses.filter((status) => status === 200).length, 64);
  });
});

test("keeps the last answer while the supervisor is away, and goes on when it is back", async () => {
  const board = createPlaceBoard(elsewhere);
  let port = 0;
  let watch: SupervisorWatch | undefined;
  try {
    await withSupervisor(board, async (url) => {
      port = Number(new URL(url).port);
      watch = watchSupervisor({ url, log: silentLogger(), waitSeconds: 2 });
      await state(watch, "elsewhere");
    });
    const watching = watch as SupervisorWatch | undefined;
    assert.ok(watching);
    await poll("it notices", () => !watching.isReachable(), { timeoutMs: 5_000 });
    assert.equal(watching.current(), elsewhere);
    const other = createPlaceBoard({ state: "moving" });
    await withSupervisor(other, () => state(watching, "moving"), port);
  } finally {
    watch?.close();
  }
});

test("an answer that is none changes nothing", async () => {
  const server = fastify();
  server.get("/v1/service", async () => ({ tag: "x", name: "", state: "gone", endpoint: null }));
  const url = await server.listen({ port: 0, host });
  await withWatch(url, async (watch) => {
    await new Promise((resolve) => setTimeout(resolve, 100));
    assert.equal(watch.current(), { state: "moving" });
    assert.not.ok(watch.isReachable());
  });
  await server.close();
});

test.run();
