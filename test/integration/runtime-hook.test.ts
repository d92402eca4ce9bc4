/** The OCI runtime hook and its gate, with a stand-in for runc that writes down its arguments. */
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { chmod, mkdir, readFile, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import * as assert from "uvu/assert";
import { poll, within } from "../../src/lib/deadline.js";
import { run, start, toolEnvironment } from "../../src/lib/exec.js";
import { exists } from "../../src/lib/files.js";
import { createPendingRestore, restoreRoot } from "../../src/oci/pending-restore.js";
import { rejectsWith } from "../lib/errors.js";
import { requires } from "../lib/requires.js";
import { suite } from "../lib/suite.js";
import { withDirectory } from "../lib/temporary.js";

const test = suite("runtime hook");
const hook = resolve(import.meta.dirname, "../../../entrypoint/ums-runc");
const timeoutMs = 10_000;
const create = ["--root", "/r", "--log", "LOG", "create", "--bundle", "/b", "--pid-file", "/p"];

interface Hook {
  id: string;
  /** Starts the hook with `argv` and the container id. */
  start(argv: string[], exitCode?: number): ChildProcess;
  /** Arguments of the stand-in's last run, or undefined. */
  runcArguments(): Promise<string[] | undefined>;
  log(): Promise<string>;
}

if (requires("root", "mkfifo")) {
  test("without a pending restore everything is runc's own", async () => {
    await withHook(async ({ start: begin, runcArguments, id }) => {
      assert.is(await exitOf(begin(["create", "--bundle", "/b"])), 0);
      assert.equal(await runcArguments(), ["create", "--bundle", "/b", id]);
      assert.is(await exitOf(begin(["start"])), 0);
      assert.equal(await runcArguments(), ["start", id]);
    });
  });

  test("waits at the gate, restores, and has nothing left to start", async () => {
    await withHook(async ({ start: begin, runcArguments, id }) => {
      const pending = await createPendingRestore(id);
      assert.is(await pending.answer("restore"), false, "nobody stands at the gate yet");
      const hookRun = begin(create);
      await pending.waiting(timeoutMs);
      assert.is(await runcArguments(), undefined, "nothing is restored before the answer");
      await poll("a reader", () => pending.answer("restore"), { timeoutMs, intervalMs: 5 });
      assert.is(await exitOf(hookRun), 0);
      const [root, rootPath, log, , ...rest] = (await runcArguments()) ?? [];
      assert.equal([root, rootPath, log], ["--root", "/r", "--log"]);
      assert.equal(rest, [
        ...["--log-format", "json", "restore", "--detach", "--bundle", "/b", "--pid-file", "/p"],
        ...["--image-path", pending.imagesDir, "--work-path", pending.workDir],
        ...["--tcp-established", "--file-locks", id],
      ]);
      assert.is(await exitOf(begin(["start"])), 0);
      assert.is(await exists(join(restoreRoot, id, "restored")), false);
      assert.not.equal(await runcArguments(), ["start", id], "the restored one already runs");
      await pending.remove();
      assert.is(await exists(join(restoreRoot, id)), false);
    });
  });

  test("a refused restore fails the create, with the reason in the runtime's log", async () => {
    await withHook(async ({ start: begin, runcArguments, log, id }) => {
      const pending = await createPendingRestore(id);
      const hookRun = begin(create);
      await pending.waiting(timeoutMs);
      await poll("a reader", () => pending.answer("refuse"), { timeoutMs, intervalMs: 5 });
      assert.is(await exitOf(hookRun), 1);
      assert.is(await runcArguments(), undefined);
      assert.match(await log(), /the supervisor withdrew the restore/);
      assert.is(await pending.answer("restore"), false, "nobody is left at the gate");
      await pending.remove();
    });
  });

  test("a failed restore fails the create", async () => {
    await withHook(async ({ start: begin, log, id }) => {
      const pending = await createPendingRestore(id);
      const hookRun = begin(create, 1);
      await pending.waiting(timeoutMs);
      await poll("a reader", () => pending.answer("restore"), { timeoutMs, intervalMs: 5 });
      assert.is(await exitOf(hookRun), 1);
      assert.match(await log(), /CRIU could not restore the container/);
      assert.is(await exists(join(restoreRoot, id, "restored")), false);
      await pending.remove();
    });
  });

  test("a runtime that never comes to the gate is a deadline", async () => {
    await withHook(async ({ id }) => {
      const pending = await createPendingRestore(id);
      await rejectsWith("ERR_DEADLINE", pending.waiting(50));
      assert.is(await pending.frozenCgroup(), undefined);
      await pending.remove();
    });
  });
}

async function exitOf(child: ChildProcess): Promise<number> {
  if (child.exitCode !== null) return child.exitCode;
  const [code] = await within(timeoutMs, "the hook", once(child, "exit"));
  return code as number;
}

async function withHook(use: (hook: Hook) => Promise<void>): Promise<void> {
  await withDirectory(async (directory) => {
    const id = `ums-test-${process.pid}`;
    const runc = join(directory, "runc");
    const seen = join(directory, "arguments");
    const logPath = join(directory, "log.json");
    await writeFile(runc, `#!/bin/sh\nprintf '%s\\n' "$@" >${seen}\nexit "\${RUNC_EXIT:-0}"\n`);
    await chmod(runc, 0o755);
    await mkdir(restoreRoot, { recursive: true });
    const children: ChildProcess[] = [];
    try {
      await use({
        id,
        start(argv, exitCode = 0) {
          const given = argv.map((argument) => (argument === "LOG" ? logPath : argument));
          const child = start([hook, ...given, id], {
            stdio: "ignore",
            env: { ...toolEnvironment, UMS_RUNC: runc, RUNC_EXIT: String(exitCode) },
          });
          children.push(child);
          return child;
        },
        async runcArguments() {
          if (!(await exists(seen))) return undefined;
          return (await readFile(seen, "utf8")).trimEnd().split("\n");
        },
        log: () => readFile(logPath, "utf8"),
      });
    } finally {
      for (const child of children) child.kill("SIGKILL");
      await run(["rm", "-rf", join(restoreRoot, id)]);
    }
  });
}

test.run();
