import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { openStore } from "../../../src/coordinator/store.js";
import { silentLogger } from "../../../src/lib/log.js";
import { suite } from "../../lib/suite.js";
import { withDirectory } from "../../lib/temporary.js";

const test = suite("coordinator store");

interface Entry {
  id: string;
  value: number;
}

const open = (directory: string) => openStore<Entry>(directory, silentLogger());

test("what was written is there after a restart, the newest of it", () =>
  withDirectory(async (directory) => {
    const store = await open(directory);
    await Promise.all([1, 2, 3].map((value) => store.write({ id: "a", value })));
    await store.write({ id: "b", value: 4 });
    await store.delete("b");
    await store.delete("b");
    assert.equal((await open(directory)).all(), [{ id: "a", value: 3 }]);
  }));

test("a torn record is put aside, the others are read", () =>
  withDirectory(async (directory) => {
    const store = await open(directory);
    await store.write({ id: "a", value: 1 });
    await store.write({ id: "b", value: 2 });
    const path = join(directory, "b.json");
    const text = await readFile(path, "utf8");
    await writeFile(path, text.slice(0, text.length / 2));
    await writeFile(join(directory, "c.json"), '{"id":"another"}');
    await writeFile(join(directory, "d.json"), "null");
    const again = await open(directory);
    assert.equal(again.all(), [{ id: "a", value: 1 }]);
    assert.equal(again.broken, ["b.json", "c.json", "d.json"]);
    assert.ok((await readdir(directory)).includes("b.json.broken"));
  }));

test("a write that a crash cut short leaves the old record", () =>
  withDirectory(async (directory) => {
    await (await open(directory)).write({ id: "a", value: 1 });
    await writeFile(join(directory, "a.json.new"), '{"id":"a","val');
    const again = await open(directory);
    assert.equal(again.all(), [{ id: "a", value: 1 }]);
    assert.equal(again.broken, []);
    assert.equal(await readdir(directory), ["a.json"]);
  }));

test("an id is never a path", () =>
  withDirectory(async (directory) => {
    const store = await open(directory);
    for (const id of ["../a", "a/b", "", "a.b", "x".repeat(65)]) {
      assert.throws(() => store.write({ id, value: 1 }), /not an id/);
    }
  }));

test.run();
