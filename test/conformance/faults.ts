/** What goes wrong, and how soon and how clearly that is said. */
import { once } from "node:events";
import { createServer, type Socket } from "node:net";
import { join } from "node:path";
import type { Test } from "uvu";
import * as assert from "uvu/assert";
import type { Orchestrator } from "../../src/orchestrators/contract.js";
import type { WorkloadSpec } from "../../src/orchestrators/workload.js";
import { rejectsWith } from "../lib/errors.js";
import { withDirectory } from "../lib/temporary.js";
import type { Bench } from "./bench.js";
import { plainSpec } from "./specs.js";
import { freePort } from "./translation.js";

/** A refusal is known long before a wait for readiness would end. */
const refusalTimeoutMs = 60_000;
const callTimeoutMs = 1_000;
/** A call may consist of several, and the machine may be busy. */
const answerLimitMs = 8_000;

export function registerFaults(test: Test, bench: () => Bench): void {
  const refusal = async (suffix: string, changes: Partial<WorkloadSpec>) => {
    const { orchestrator, prefix, image } = bench();
    const spec = { ...plainSpec(`${prefix}-${suffix}`, image), ...changes };
    const migrationId = `${prefix}-m-${suffix}`;
    const create = async () => {
      const { id } = await orchestrator.create({ spec, migrationId, startMode: "passive" });
      try {
        await orchestrator.untilReady(id, { timeoutMs: refusalTimeoutMs });
      } finally {
        await orchestrator.remove(id);
      }
    };
    return await rejectsWith("ERR_ORCHESTRATOR_REFUSED", create());
  };

  test("an image that is not to be had", async () => {
    const error = await refusal("image", { image: "127.0.0.1:9/ums/none:1" });
    assert.match(error.message, /127\.0\.0\.1:9\/ums\/none/);
    assert.equal(await bench().leftovers(), []);
  });

  test("more memory than there is", async () => {
    const error = await refusal("room", { resources: { memoryBytes: 2 ** 50 } });
    assert.match(error.message, /memory|resources/i);
    assert.equal(await bench().leftovers(), []);
  });

  test("a name and a port that another workload has", async () => {
    const { orchestrator, prefix, image, leftovers } = bench();
    const port = await freePort();
    const ports = [{ port: 6390, protocol: "tcp" as const, published: port }];
    const spec = { ...plainSpec(`${prefix}-holder`, image), ports };
    const migrationId = `${prefix}-m-holder`;
    const holder = await orchestrator.create({ spec, migrationId, startMode: "passive" });
    const before = await leftovers();
    try {
      assert.match((await refusal("port", { ports })).message, new RegExp(`port|${port}`));
      assert.equal(await leftovers(), before, "the refused one left nothing behind");
      assert.match((await refusal("name", { name: spec.name })).message, /holder/);
      assert.equal(await leftovers(), before, "and the holder is untouched");
    } finally {
      await orchestrator.remove(holder.id);
    }
    assert.equal(await leftovers(), []);
  });

  test("an outer container that ends at once: its own words, long before the deadline", async () => {
    const startMs = performance.now();
    const error = await refusal("ends", { env: [{ name: "UMS_SUBNET", value: "nonsense" }] });
    assert.match(error.message, /UMS_SUBNET/, "the end of its log");
    const tookMs = performance.now() - startMs;
    assert.ok(tookMs < refusalTimeoutMs / 2, `took ${Math.round(tookMs)} ms`);
    assert.equal(await bench().leftovers(), []);
  });

  test("removing what is not there succeeds, reading it does not", async () => {
    const { orchestrator, prefix } = bench();
    await orchestrator.remove(`${prefix}-nothing`);
    await rejectsWith("ERR_SERVICE_NOT_FOUND", orchestrator.read(`${prefix}-nothing`));
    const waiting = orchestrator.untilReady(`${prefix}-nothing`, { timeoutMs: refusalTimeoutMs });
    await rejectsWith("ERR_SERVICE_NOT_FOUND", waiting);
    await rejectsWith("ERR_SERVICE_NOT_FOUND", orchestrator.guard(`${prefix}-nothing`, "m"));
  });

  test("an orchestrator that is away", async () => {
    await withDirectory(async (directory) => {
      const address = `unix://${join(directory, "none.sock")}`;
      await expectUnavailable(bench(), address);
    });
  });

  test("an orchestrator that accepts and never answers", async () => {
    await withDirectory(async (directory) => {
      const path = join(directory, "mute.sock");
      const sockets = new Set<Socket>();
      const server = createServer((socket) => {
        sockets.add(socket);
        socket.on("error", () => {
          // The driver gave up, as it should.
        });
      });
      server.listen(path);
      await once(server, "listening");
      try {
        await expectUnavailable(bench(), `unix://${path}`);
      } finally {
        for (const socket of sockets) socket.destroy();
        server.close();
      }
    });
  });
}

async function expectUnavailable(bench: Bench, address: string): Promise<void> {
  const { prefix, image } = bench;
  const spec = plainSpec(`${prefix}-away`, image);
  const calls: Record<string, (orchestrator: Orchestrator) => Promise<unknown>> = {
    describe: (o) => o.describe(),
    list: (o) => o.list(),
    read: (o) => o.read("x"),
    create: (o) => o.create({ spec, migrationId: "m", startMode: "passive" }),
    untilReady: (o) => o.untilReady("x", { timeoutMs: 60_000 }),
    remove: (o) => o.remove("x"),
    guard: (o) => o.guard("x", "m"),
  };
  for (const [name, act] of Object.entries(calls)) {
    const startMs = performance.now();
    const work = async () => {
      const orchestrator = await bench.openAt(address, callTimeoutMs);
      try {
        await act(orchestrator);
      } finally {
        await orchestrator.close();
      }
    };
    await rejectsWith("ERR_ORCHESTRATOR_UNAVAILABLE", work());
    const tookMs = performance.now() - startMs;
    assert.ok(tookMs < answerLimitMs, `${name} took ${Math.round(tookMs)} ms`);
  }
}
