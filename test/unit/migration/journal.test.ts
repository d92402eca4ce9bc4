/** The journal's file: what is read back after every kind of damage. */
import { appendFile, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { type Journal, openJournal, parseJournal } from "../../../src/migration/journal.js";
import { initialSource } from "../../../src/migration/source-state.js";
import { rejectsWith, throwsWith } from "../../lib/errors.js";
import { suite } from "../../lib/suite.js";
import { withDirectory } from "../../lib/temporary.js";

const test = suite("journal");

test("keeps records over a restart, by role and by migration", async () => {
  await withDirectory(async (directory) => {
    const path = join(directory, "journal");
    await withJournal(path, async (journal) => {
      assert.is(journal.last, undefined);
      await journal.append({ role: "source", state: initialSource(1) });
      await append(journal, "m1", 2);
      const state = { phase: "RESERVED", migrationId: "m2", epoch: 7 } as const;
      await journal.append({ role: "destination", state, data: { peer: "a:1" } });
    });
    await withJournal(path, async (journal) => {
      assert.is(journal.last?.seq, 3);
      assert.is(journal.last?.role, "destination");
      assert.is(journal.last?.data?.peer, "a:1");
      assert.is(journal.lastOf("source")?.state.migrationId, "m1");
      assert.is(journal.find("source", "m1")?.seq, 2);
      assert.is(journal.find("destination", "m1"), undefined);
    });
  });
});

test("a tail torn at any byte is cut, and the records before it stay", async () => {
  const { content, ends } = await threeRecords();
  const [, second = 0, third = 0] = ends;
  for (let length = second; length < third; length += 1) {
    for (const rest of [0, 200]) {
      const torn = Buffer.concat([content.subarray(0, length), Buffer.alloc(rest)]);
      const { records, endBytes } = parseJournal(torn);
      assert.is(records.length, 2, `torn at byte ${length}`);
      assert.is(endBytes, second);
    }
  }
  assert.is(parseJournal(content).records.length, 3);
});

test("any damaged byte of a record with more behind it stops the start", async () => {
  const { content, ends } = await threeRecords();
  const [first = 0, second = 0] = ends;
  for (let at = first; at < second; at += 1) {
    const damaged = Buffer.from(content);
    damaged[at] = (damaged[at] ?? 0) ^ 0x10;
    throwsWith("ERR_JOURNAL_CORRUPT", () => parseJournal(damaged));
  }
});

test("zeroes amid the records are damage, not the end", async () => {
  const { content, ends } = await threeRecords();
  const [first = 0, second = 0] = ends;
  const damaged = Buffer.from(content).fill(0, first, second);
  throwsWith("ERR_JOURNAL_CORRUPT", () => parseJournal(damaged));
});

test("what a torn append left does not come back after a shorter one", async () => {
  await withDirectory(async (directory) => {
    const path = join(directory, "journal");
    const { content, ends } = await threeRecords();
    await writeFile(path, content.subarray(0, (ends[2] ?? 0) - 1));
    await appendFile(path, Buffer.alloc(4096, 0x7b));
    await withJournal(path, async (journal) => {
      assert.is(journal.last?.seq, 2);
      await append(journal, "m", 2);
    });
    const { records, endBytes } = parseJournal(await readFile(path));
    assert.equal(
      records.map(({ seq }) => seq),
      [1, 2, 3],
    );
    const rest = (await readFile(path)).subarray(endBytes);
    assert.ok(
      rest.every((byte) => byte === 0),
      "nothing is left behind the last record",
    );
  });
});

test("has zeroed room ahead for the record that decides", async () => {
  await withDirectory(async (directory) => {
    const path = join(directory, "journal");
    await withJournal(path, (journal) => append(journal, "m1", 2));
    const { size, blocks } = await stat(path);
    assert.ok(size >= 32 * 1024, `${size} bytes`);
    assert.ok(blocks * 512 >= 32 * 1024, "the room is written, not sparse");
  });
});

test("a reason of any length leaves the record readable", async () => {
  await withDirectory(async (directory) => {
    const path = join(directory, "journal");
    await withJournal(path, async (journal) => {
      const state = { ...initialSource(1), reason: "x".repeat(1_000_000) };
      await journal.append({ role: "source", state });
    });
    await withJournal(path, async (journal) => assert.is(journal.last?.state.reason?.length, 2000));
  });
});

test("a second supervisor cannot open it", async () => {
  await withDirectory(async (directory) => {
    const path = join(directory, "journal");
    await withJournal(path, async () => {
      await rejectsWith("ERR_MIGRATION_IN_PROGRESS", openJournal(path));
    });
    await withJournal(path, async (journal) => assert.is(journal.last, undefined));
  });
});

async function append(journal: Journal, migrationId: string, epoch: number): Promise<void> {
  const state = { ...initialSource(1), issuedEpoch: epoch, migrationId };
  await journal.append({ role: "source", state });
}

/** A journal's content, and where each record ends. */
async function threeRecords(): Promise<{ content: Buffer; ends: number[] }> {
  return withDirectory(async (directory) => {
    const path = join(directory, "journal");
    await withJournal(path, async (journal) => {
      for (const number of [1, 2, 3]) await append(journal, `migration-${number}`, number + 1);
    });
    const whole = await readFile(path);
    const ends: number[] = [];
    for (let at = 0; ends.length < 3; ) {
      at += 8 + whole.readUInt32LE(at);
      ends.push(at);
    }
    return { content: whole.subarray(0, ends[2]), ends };
  });
}

async function withJournal(path: string, use: (journal: Journal) => Promise<void>): Promise<void> {
  const journal = await openJournal(path);
  try {
    await use(journal);
  } finally {
    await journal.close();
  }
}

test.run();
