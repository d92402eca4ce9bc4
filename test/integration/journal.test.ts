/** The journal under kill -9 and on a full disk. */
import { once } from "node:events";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { UmsError } from "../../src/errors.js";
import { sleep, within } from "../../src/lib/deadline.js";
import { run, start } from "../../src/lib/exec.js";
import { openJournal } from "../../src/migration/journal.js";
import { initialSource } from "../../src/migration/source-state.js";
import { rejectsWith } from "../lib/errors.js";
import { requires } from "../lib/requires.js";
import { suite } from "../lib/suite.js";
import { withDirectory } from "../lib/temporary.js";

const test = suite("journal, real");
const agent = join(import.meta.dirname, "../lib/journal-agent.js");
const kills = 15;
const startTimeoutMs = 10_000;

test("no acknowledged record is lost, whenever the supervisor is killed", async () => {
  await withDirectory(async (directory) => {
    const path = join(directory, "journal");
    let acknowledged = 0;
    for (let round = 0; round < kills; round += 1) {
      acknowledged = Math.max(acknowledged, await appendUntilKilled(path));
      // A second opener also shows that the kernel freed the lock with the process.
      const journal = await openJournal(path);
      const { last } = journal;
      await journal.close();
      const kept = last?.role === "source" ? last.state.epoch : 0;
      assert.ok(kept >= acknowledged, `${acknowledged} were acknowledged, ${kept} are there`);
      assert.is(last?.seq, kept, "no record is missing or there twice");
    }
    assert.ok(acknowledged > kills, `only ${acknowledged} records`);
  });
});

/** Returns the last number that was acknowledged. */
async function appendUntilKilled(path: string): Promise<number> {
  const child = start([process.execPath, agent, path], { stdio: ["ignore", "pipe", "inherit"] });
  let printed = "";
  const first = new Promise<void>((resolve) => {
    child.stdout?.on("data", (chunk: Buffer) => {
      printed += chunk.toString();
      resolve();
    });
  });
  await within(startTimeoutMs, "the first record", first);
  await sleep(Math.random() * 40);
  child.kill("SIGKILL");
  await within(startTimeoutMs, "the end of the agent", once(child, "close"));
  return Number(printed.slice(0, printed.lastIndexOf("\n")).split("\n").pop());
}

if (requires("root", "mount")) {
  test("a full disk does not block the records that decide, and is named at last", async () => {
    await withDirectory(async (directory) => {
      const disk = join(directory, "disk");
      await mkdir(disk);
      await run(["mount", "-t", "tmpfs", "-o", "size=256k", "journal-test", disk]);
      try {
        const path = join(disk, "journal");
        const journal = await openJournal(path);
        try {
          await journal.append({ role: "source", state: initialSource(1) });
          await rejectsWith("ERR_NO_ROOM", fill(join(disk, "filling")));
          const state = { ...initialSource(1), migrationId: "m1", reason: "x".repeat(1_000) };
          for (let record = 0; record < 20; record += 1) {
            await journal.append({ role: "source", state });
          }
          const more = async () => {
            for (let record = 0; record < 200; record += 1) {
              await journal.append({ role: "source", state });
            }
          };
          await rejectsWith("ERR_NO_ROOM", more());
        } finally {
          await journal.close();
        }
        const reopened = await openJournal(path);
        await reopened.close();
        assert.ok((reopened.last?.seq ?? 0) > 20, "what was acknowledged is there");
        assert.is(reopened.last?.seq, journal.last?.seq);
      } finally {
        await run(["umount", disk]);
      }
    });
  });
}

async function fill(path: string): Promise<void> {
  try {
    await writeFile(path, Buffer.alloc(1024 * 1024));
  } catch (error) {
    throw UmsError.from(error);
  }
}

test.run();
