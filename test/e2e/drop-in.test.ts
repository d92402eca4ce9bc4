import { randomBytes } from "node:crypto";
import { chmod, writeFile } from "node:fs/promises";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { poll } from "../../src/lib/deadline.js";
import { run } from "../../src/lib/exec.js";
import { requires } from "../lib/requires.js";
import { suite } from "../lib/suite.js";
import { withDirectory } from "../lib/temporary.js";
import {
  buildImages,
  cleanUp,
  innerImage,
  inOuter,
  plainOuterImage,
  prefix,
  removeOuter,
  runOuter,
  startOuter,
} from "./drop-in-outer.js";

const test = suite("outer container as a drop-in");
const name = `${prefix}-a`;

test.before(buildImages);
test.after(cleanUp);

test("gives the service what the orchestrator gave", async () => {
  await withDirectory(async (directory) => {
    await writeFile(join(directory, "greeting"), "hello\n");
    await chmod(directory, 0o755);
    const script = [
      "id -u",
      "pwd",
      "hostname",
      'echo "$FOO"',
      "echo secret=$SECRET_X ums=$UMS_USER",
      "cat /given/greeting",
      "touch /given/x 2>/dev/null || echo readonly",
      "grep -c ' /cache tmpfs' /proc/mounts",
      "grep -o 'size=32768k' /proc/mounts",
      "ulimit -Sn",
      "ulimit -Hn",
    ].join("; ");
    const options = [
      ...["-e", "FOO=a b'c", "-e", "SECRET_X=1", "-e", "UMS_ENV=*,!SECRET_*"],
      ...["-e", "UMS_USER=app", "-w", "/work", "--hostname", "inner-name"],
      ...["-v", `${directory}:/given:ro`, "--tmpfs", "/cache"],
      ...["--shm-size", "32m", "--ulimit", "nofile=1000:2000"],
    ];
    const result = await runOuter(name, options, ["sh", "-c", script]);
    assert.is(
      result.stdout.toString("utf8"),
      "1000\n/work\ninner-name\na b'c\nsecret= ums=\nhello\nreadonly\n1\nsize=32768k\n1000\n2000\n",
      result.stderr,
    );
    assert.is(result.exitCode, 0);
  });
});

test("passes stdout and stderr byte for byte", async () => {
  await withDirectory(async (directory) => {
    const bytes = randomBytes(4 * 1024 * 1024);
    await writeFile(join(directory, "bytes"), bytes);
    const mount = ["-v", `${directory}:/given:ro`];
    const out = await runOuter(name, mount, ["cat", "/given/bytes"]);
    assert.ok(out.stdout.equals(bytes), "stdout differs");
    const script = "head -c 100000 /given/bytes | od -v -An -tx1 >&2";
    // The supervisor's log would stand in the middle of a line that the service has half written.
    const quiet = [...mount, "-e", "UMS_LOG_LEVEL=fatal"];
    const error = await runOuter(name, quiet, ["sh", "-c", script]);
    const hex = error.stderr
      .split("\n")
      .filter((line) => !line.startsWith("{"))
      .join("")
      .replaceAll(/\s/g, "");
    assert.ok(hex === bytes.subarray(0, 100_000).toString("hex"), "stderr differs");
  });
});

test("passes stdin on, to its end", async () => {
  const result = await runOuter(name, ["-i"], ["cat"], "a line\nhalf a line");
  assert.is(result.stdout.toString("utf8"), "a line\nhalf a line");
});

test("ends with the service's exit code", async () => {
  assert.is((await runOuter(name, [], ["sh", "-c", "exit 7"])).exitCode, 7);
  const script = "sh -c 'kill -SEGV $$'; exit $?";
  assert.is((await runOuter(name, [], ["sh", "-c", script])).exitCode, 139);
  assert.is((await runOuter(name, [], ["no-such-program"])).exitCode, 127);
});

test("refuses a wrong configuration with 78 and says which variable", async () => {
  const port = await runOuter(name, ["-e", "UMS_PEER_PORT=x"], []);
  assert.is(port.exitCode, 78);
  assert.match(port.stderr, "UMS_PEER_PORT=x");
  const image = await runOuter(name, [`image=${plainOuterImage}`], []);
  assert.is(image.exitCode, 78);
  assert.match(image.stderr, "UMS_IMAGE");
});

test("publishes the service's ports and resolves names of the outer network", async () => {
  const network = `${prefix}-net`;
  const peer = `${prefix}-peer`;
  await run(["docker", "network", "create", network]);
  const serve = "mkdir /tmp/w; echo from-peer >/tmp/w/i; exec httpd -f -p 80 -h /tmp/w";
  await run([
    "docker",
    "run",
    "-d",
    "--name",
    peer,
    "--network",
    network,
    innerImage,
    "sh",
    "-c",
    serve,
  ]);
  const script = [
    `wget -qO- http://${peer}/i`,
    "mkdir /tmp/w",
    "echo served >/tmp/w/i",
    "exec httpd -f -p 8080 -h /tmp/w",
  ].join("; ");
  await startOuter(name, ["--network", network], ["sh", "-c", script], "from-peer");
  const isServed = async () => {
    const answer = await inOuter(peer, "wget", "-qO-", `http://${name}:8080/i`);
    return answer.stdout.toString("utf8") === "served\n";
  };
  await poll("the service's own server", isServed, { timeoutMs: 30_000, intervalMs: 200 });
  const metrics = await inOuter(peer, "wget", "-qO-", `http://${name}:9751/metrics`);
  assert.match(metrics.stdout.toString("utf8"), "ums_ready 1");
  for (const container of [name, peer]) await removeOuter(container);
});

if (requires("root", "docker")) test.run();
