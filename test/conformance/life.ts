/** Create, wait, read, list, remove. */
import { once } from "node:events";
import { connect as connectTls } from "node:tls";
import type { Test } from "uvu";
import * as assert from "uvu/assert";
import { within } from "../../src/lib/deadline.js";
import type { Workload } from "../../src/orchestrators/contract.js";
import { rejectsWith } from "../lib/errors.js";
import type { Bench } from "./bench.js";
import { plainSpec } from "./specs.js";

/** Inner engine and supervisor on a busy machine. */
export const readyTimeoutMs = 180_000;

export function registerLife(test: Test, bench: () => Bench): void {
  test("describes itself", async () => {
    const { version, features } = await bench().orchestrator.describe();
    assert.match(version, /\d/);
    assert.ok(features.length > 0);
  });

  test("a passive workload becomes ready, is one for each migration, and goes without a trace", async () => {
    const { orchestrator, prefix, image, leftovers } = bench();
    const order = {
      spec: plainSpec(`${prefix}-life`, image),
      migrationId: `${prefix}-m-life`,
      startMode: "passive" as const,
    };
    const [first, second] = await Promise.all([
      orchestrator.create(order),
      orchestrator.create(order),
    ]);
    assert.is(first.id, second.id, "two creations at once for one migration");
    const third = await orchestrator.create(order);
    assert.is(third.id, first.id, "created again for the same migration");
    assert.is(third.migrationId, order.migrationId);

    const ready = await orchestrator.untilReady(first.id, { timeoutMs: readyTimeoutMs });
    assert.is(ready.state, "running");
    await expectSupervisor(ready);

    const listed = (await orchestrator.list()).filter(({ id }) => id === first.id);
    assert.is(listed.length, 1, "it is listed once");
    assert.is(listed[0]?.migrationId, order.migrationId);
    for (const name of [first.id, order.spec.name]) {
      const read = await orchestrator.read(name);
      assert.is(read.id, first.id);
      assert.equal(read.spec, order.spec, "the plain specification comes back");
      assert.equal(read.endpoint, ready.endpoint);
    }

    await orchestrator.remove(first.id);
    await orchestrator.remove(first.id);
    assert.equal(await leftovers(), []);
    await rejectsWith("ERR_SERVICE_NOT_FOUND", orchestrator.read(first.id));
    await rejectsWith("ERR_SERVICE_NOT_FOUND", orchestrator.read(order.spec.name));
  });

  test("the wait for readiness ends at its deadline, and when it is cancelled", async () => {
    const { orchestrator, prefix, image } = bench();
    const { id } = await orchestrator.create({
      spec: plainSpec(`${prefix}-wait`, image),
      migrationId: `${prefix}-m-wait`,
      startMode: "passive",
    });
    await rejectsWith("ERR_DEADLINE", orchestrator.untilReady(id, { timeoutMs: 1 }));
    const cancel = new AbortController();
    const waiting = orchestrator.untilReady(id, {
      timeoutMs: readyTimeoutMs,
      signal: cancel.signal,
    });
    cancel.abort();
    await rejectsWith("ERR_CANCELLED", waiting);
    await orchestrator.remove(id);
    assert.equal(await bench().leftovers(), []);
  });
}

/** Migration Interface (TLS) and /readyz answer at the endpoint. */
export async function expectSupervisor(workload: Workload): Promise<void> {
  const { endpoint } = workload;
  if (endpoint === undefined) assert.unreachable("a ready workload has an endpoint");
  const { host, peerPort, httpPort } = endpoint as NonNullable<typeof endpoint>;
  const answer = await fetch(`http://${host}:${httpPort}/readyz`);
  assert.is(answer.status, 200, await answer.text());
  // The certificate is checked by the peers' own tests; here it is enough that TLS is spoken.
  const socket = connectTls({ host, port: peerPort, rejectUnauthorized: false });
  try {
    await within(10_000, "a TLS handshake", once(socket, "secureConnect"));
    assert.ok(socket.getPeerCertificate().subject !== undefined, "it shows a certificate");
  } finally {
    socket.destroy();
  }
}
