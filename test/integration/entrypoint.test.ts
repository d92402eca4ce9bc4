/**
 * ums-init in a real container of the outer image, with a stand-in for the supervisor: what Node
 * gets from it, and what it does when Node dies. The entrypoint is the source tree's, mounted.
 */
import { randomUUID } from "node:crypto";
import { mkdir, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import * as assert from "uvu/assert";
import { poll } from "../../src/lib/deadline.js";
import { run } from "../../src/lib/exec.js";
import { requires } from "../lib/requires.js";
import { suite } from "../lib/suite.js";
import { withDirectory } from "../lib/temporary.js";

const entrypoint = resolve(import.meta.dirname, "../../../entrypoint");
const outerFlags = resolve(import.meta.dirname, "../../../scripts/outer-flags.sh");
const logTimeoutMs = 15_000;

/** Prints what it was given and every signal; TERM ends it as a supervisor ends, with a code. */
const standIn = `
import { writeFileSync } from "node:fs";
console.log("up", JSON.stringify({ args: process.argv.slice(2), env: process.env, cwd: process.cwd() }));
for (const name of ["SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGWINCH"])
  process.on(name, () => console.log("got", name));
process.on("SIGTERM", () => { writeFileSync("/run/ums/exit-code", "42\\n"); process.exit(0); });
setInterval(() => {}, 1000);
`;

interface Outer {
  exec(...argv: string[]): Promise<string>;
  kill(signal: string): Promise<void>;
  /** Waits until the log has `count` lines that match. */
  logged(pattern: RegExp, count?: number): Promise<string[]>;
  exitCode(): Promise<number>;
}

/** Runs a container of the outer image with the stand-in and removes it afterwards. */
async function withOuter(options: string[], use: (outer: Outer) => Promise<void>): Promise<void> {
  const name = `ums-test-entrypoint-${randomUUID().slice(0, 8)}`;
  const flags = (await run([outerFlags])).stdout.trim().split("\n");
  await withDirectory(async (directory) => {
    const source = join(directory, "src");
    await mkdir(source);
    await writeFile(join(source, "main.js"), standIn);
    try {
      await run(
        ["docker", "run", "--detach", "--name", name, ...flags, ...options]
          .concat(["--volume", `${source}:/usr/local/lib/ums/dist/src:ro`])
          .concat(["--volume", `${entrypoint}:/usr/local/lib/ums/entrypoint:ro`])
          .concat(["ums/outer:latest", "first", "second argument"]),
      );
      await use(outerContainer(name));
    } finally {
      await run(["docker", "rm", "--force", "--volumes", name]);
    }
  });
}

function outerContainer(name: string): Outer {
  return {
    exec: async (...argv) => (await run(["docker", "exec", name, ...argv])).stdout,
    kill: async (signal) => {
      await run(["docker", "kill", "--signal", signal, name]);
    },
    logged: (pattern, count = 1) => {
      return poll(
        `${count} log lines like ${pattern}`,
        async () => {
          const { stdout, stderr } = await run(["docker", "logs", name]);
          const found = `${stdout}${stderr}`.split("\n").filter((line) => pattern.test(line));
          return found.length >= count && found;
        },
        { timeoutMs: logTimeoutMs },
      );
    },
    exitCode: async () => Number((await run(["docker", "wait", name])).stdout),
  };
}

/** Kills Node by its executable: to the kernel its name is its main thread's. */
const killNode =
  'for p in /proc/[0-9]*; do [ "$(readlink "$p/exe")" != /usr/bin/node ] || kill -9 "$(basename "$p")"; done';

const test = suite("ums-init");

test("keeps the service's surroundings and gives the supervisor clean ones", async () => {
  const options = ["--workdir", "/tmp", "--env", "NODE_OPTIONS=--bad", "--env", "UMS_IMAGE=a:1"];
  await withOuter([...options, "--env", "SECRET=first\nUMS_FAKE=1"], async (outer) => {
    const [up = ""] = await outer.logged(/^up /);
    const seen = JSON.parse(up.slice("up ".length));
    assert.equal(seen.args, ["supervise", "--", "first", "second argument"]);
    assert.equal(seen.cwd, "/");
    assert.is(seen.env.UMS_IMAGE, "a:1");
    assert.is(seen.env.SECRET, undefined);
    assert.is(seen.env.NODE_OPTIONS, undefined);
    assert.is(seen.env.UMS_FAKE, undefined);
    const kept = (await outer.exec("cat", "/run/ums/environ")).split("\0");
    assert.ok(kept.includes("SECRET=first\nUMS_FAKE=1"));
    assert.is(await outer.exec("cat", "/run/ums/cwd"), "/tmp");
    assert.is((await outer.exec("stat", "-c", "%a", "/run/ums/environ")).trim(), "600");
  });
});

test("makes /run a tmpfs and keeps what was mounted below it", async () => {
  const secret = ["--volume", `${entrypoint}:/run/secrets/with blank:ro`];
  await withOuter(secret, async (outer) => {
    await outer.logged(/^up /);
    assert.is((await outer.exec("stat", "-f", "-c", "%T", "/run")).trim(), "tmpfs");
    assert.match(await outer.exec("ls", "/run/secrets/with blank"), "ums-init");
  });
});

test("forwards signals and ends with the code the supervisor left", async () => {
  await withOuter([], async (outer) => {
    await outer.logged(/^up /);
    for (const signal of ["SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGWINCH"]) {
      await outer.kill(signal);
      await outer.logged(new RegExp(`^got ${signal}$`));
    }
    await outer.kill("SIGTERM");
    assert.is(await outer.exitCode(), 42);
  });
});

test("starts a crashed supervisor again and tells it the pending signal", async () => {
  await withOuter([], async (outer) => {
    await outer.logged(/^up /);
    await outer.exec("sh", "-c", killNode);
    const [, second = ""] = await outer.logged(/^up /, 2);
    assert.match(second, '"UMS_PENDING_SIGNAL":""');
    await outer.kill("SIGINT");
    await outer.logged(/^got SIGINT$/);
    await outer.exec("sh", "-c", killNode);
    const [, , third = ""] = await outer.logged(/^up /, 3);
    assert.match(third, '"UMS_PENDING_SIGNAL":"INT"');
    const crashes = await outer.logged(/supervisor crashed/, 2);
    assert.equal(
      crashes.map((line) => JSON.parse(line).backoffMs),
      [200, 400],
    );
  });
});

test("names the missing privilege and ends with 78", async () => {
  const lacking = ["docker", "run", "--rm"];
  for (const [options, message] of [
    [[], /CAP_SYS_ADMIN is missing.*--cap-add=ALL/],
    [["--user", "1000"], /does not run as root/],
  ] as const) {
    try {
      await run([...lacking, ...options, "ums/outer:latest"]);
      assert.unreachable("the outer container started");
    } catch (error) {
      const { exitCode, stderrTail } =
        (error as { details?: Record<string, string> }).details ?? {};
      assert.equal(exitCode, 78);
      assert.match(String(stderrTail), message);
    }
  }
});

if (requires("root", "docker")) test.run();
