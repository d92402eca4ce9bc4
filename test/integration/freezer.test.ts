/** The real cgroup freezer of this machine, version 1 or 2. */
import { mkdir, readFile, rmdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { poll, sleep } from "../../src/lib/deadline.js";
import { start } from "../../src/lib/exec.js";
import { exists } from "../../src/lib/files.js";
import { type Freezer, freezerIn, freezerOf } from "../../src/oci/freezer.js";
import { rejectsWith } from "../lib/errors.js";
import { requires } from "../lib/requires.js";
import { suite } from "../lib/suite.js";
import { withDirectory } from "../lib/temporary.js";

const test = suite("freezer");

/** Writes a growing number all the time, and one more when it is asked to end. */
const counter = `
trap 'echo asked >"$1.asked"; exit' TERM
count=0
while :; do count=$((count + 1)); echo $count >"$1"; done
`;

if (requires("root", "unshare", "ss")) {
  test("holds every process of the cgroup and below, and lets it go on", async () => {
    await withCounter(async ({ freezer, value, pid, innerPid }) => {
      assert.is(await freezer.isFrozen(), false);
      assert.equal((await freezer.pids()).sort(), [pid, innerPid].sort());
      await freezer.freeze();
      assert.is(await freezer.isFrozen(), true);
      const frozenAt = await value();
      await sleep(60);
      assert.is(await value(), frozenAt, "nothing ran while it was frozen");
      await freezer.thaw();
      await freezer.thaw();
      await poll("it goes on", async () => (await value()) > frozenAt, { timeoutMs: 10_000 });
      assert.is(await freezer.isFrozen(), false);
    });
  });

  test("is found again from its directory, as after a restart of the supervisor", async () => {
    await withCounter(async ({ freezer, pid }) => {
      await freezer.freeze();
      const again = await freezerIn(freezer.directory);
      assert.is(await again.isFrozen(), true);
      assert.ok((await again.pids()).includes(pid));
      await again.thaw();
    });
  });

  test("ends what is frozen without an instruction more", async () => {
    await withCounter(async ({ freezer, value, path, pid }) => {
      await freezer.freeze();
      const frozenAt = await value();
      // Pending already: had it run on for a moment, its handler would have written.
      process.kill(pid, "SIGTERM");
      await freezer.killFrozen();
      assert.equal(await freezer.pids(), []);
      assert.is(await value(), frozenAt);
      assert.is(await exists(`${path}.asked`), false);
      await freezer.killFrozen();
    });
  });

  test("of a process that is gone is an error", async () => {
    const child = start(["true"], { stdio: "ignore" });
    const { pid = 0 } = child;
    await new Promise((resolve) => child.once("exit", resolve));
    await rejectsWith("ERR_SERVICE_NOT_RUNNING", freezerOf(pid));
  });
}

interface Counter {
  freezer: Freezer;
  pid: number;
  /** A second process, in a cgroup below. */
  innerPid: number;
  path: string;
  value(): Promise<number>;
}

/** Runs a counter in a cgroup and a network namespace of its own, and a sleeper below. */
async function withCounter(use: (counter: Counter) => Promise<void>): Promise<void> {
  await withDirectory(async (directory) => {
    const path = join(directory, "count");
    const child = start(["unshare", "--net", "sh", "-c", counter, "sh", path], { stdio: "ignore" });
    const inner = start(["sleep", "60"], { stdio: "ignore" });
    const { pid = 0 } = child;
    const { pid: innerPid = 0 } = inner;
    const isV1 = await exists("/sys/fs/cgroup/freezer");
    const root = isV1 ? "/sys/fs/cgroup/freezer" : "/sys/fs/cgroup";
    const cgroup = join(root, `ums-test-${process.pid}`);
    const below = join(cgroup, "below");
    const value = async () => Number(await readFile(path, "utf8").catch(() => "0"));
    try {
      await mkdir(below, { recursive: true });
      await writeFile(join(cgroup, "cgroup.procs"), String(pid));
      await writeFile(join(below, "cgroup.procs"), String(innerPid));
      await poll("it counts", async () => (await value()) > 0, { timeoutMs: 10_000 });
      await use({ freezer: await freezerOf(pid), pid, innerPid, path, value });
    } finally {
      const freezer = await freezerIn(cgroup);
      await freezer.thaw();
      for (const each of [child, inner]) each.kill("SIGKILL");
      const isEmpty = async () => (await freezer.pids()).length === 0;
      await poll("the end of the processes", isEmpty, { timeoutMs: 10_000 });
      await rmdir(below);
      await rmdir(cgroup);
    }
  });
}

test.run();
