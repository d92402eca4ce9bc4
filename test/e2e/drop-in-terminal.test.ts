import * as assert from "uvu/assert";
import { poll, within } from "../../src/lib/deadline.js";
import { run, toolEnvironment } from "../../src/lib/exec.js";
import { openPty } from "../../src/terminal/pty.js";
import { requires } from "../lib/requires.js";
import { suite } from "../lib/suite.js";
import {
  buildImage,
  buildImages,
  cleanUp,
  innerImage,
  inOuter,
  outerArgv,
  prefix,
  startOuter,
  wrapImage,
} from "./drop-in-outer.js";

const test = suite("terminals and health");
const name = `${prefix}-tty`;

test.before(buildImages);
test.after(cleanUp);

test("the service has the outer container's terminal, its size and its keyboard", async () => {
  const argv = await outerArgv(name, ["-it", "-e", "UMS_LOG_LEVEL=error"], ["sh"]);
  const pty = openPty({ argv, env: toolEnvironment, size: { rows: 33, columns: 101 } });
  let shown = "";
  pty.onOutput((bytes) => {
    shown += bytes.toString("utf8");
  });
  const type = async (line: string, answer: string | RegExp) => {
    pty.write(Buffer.from(line));
    await poll(`answer to ${JSON.stringify(line)}`, () => shown.search(answer) >= 0, {
      timeoutMs: 30_000,
    });
  };
  await poll("a prompt", () => shown.includes("# "), { timeoutMs: 60_000 });
  await type("stty size\n", /\r\n33 101\r\n/);
  pty.resize({ rows: 44, columns: 120 });
  // The change comes by a signal through three programs; the shell is asked until it has arrived.
  await type(
    "until [ \"$(stty size)\" = '44 120' ]; do sleep 0.1; done; echo re''sized\n",
    "resized",
  );
  // Only while a program runs does the terminal turn the key into a signal; the shell's own line
  // editor takes it as a character.
  await type("sh -c \"echo star''ted; exec sleep 1000\"\n", "started");
  await type("\x03", /\^C/);
  pty.write(Buffer.from("exit 6\n"));
  assert.is(await within(30_000, "end of docker run", pty.exited), 6);
});

test("ums build carries the image's configuration over; ums exec and ums health see inside", async () => {
  const inner = `${prefix}/carried:inner`;
  const outer = `${prefix}/carried:outer`;
  await buildImage(inner, carriedDockerfile);
  await wrapImage(inner, outer);
  const { stdout } = await run(["docker", "inspect", "-f", "{{json .Config}}", outer]);
  const config = JSON.parse(stdout);
  assert.ok(config.Env.includes('WEIRD=a"b $c'));
  assert.equal(Object.keys(config.ExposedPorts), ["8080/tcp"]);
  assert.ok("/data" in config.Volumes);
  assert.is(config.WorkingDir, "/app");
  assert.is(config.StopSignal, "SIGUSR1");
  assert.is(config.Labels.who, "me");
  assert.is(config.User ?? "", "");
  assert.equal(config.Healthcheck.Test, ["CMD", "/usr/local/bin/ums", "health"]);

  await startOuter(name, [`image=${outer}`], [], "app /app\n");
  await untilHealth(0);
  const exec = await inOuter(name, "ums", "exec", "--", "sh", "-c", "id -un; exit 4");
  assert.is(exec.stdout.toString("utf8"), "app\n");
  assert.is(exec.exitCode, 4);
  const terminal = await inOuter(name, "ums", "exec", "-t", "--", "stty", "size");
  assert.is(terminal.stdout.toString("utf8"), "24 80\r\n");
  await inOuter(name, "ums", "exec", "--", "rm", "/tmp/healthy");
  await untilHealth(1);
});

const carriedDockerfile = `
FROM ${innerImage}
ENV WEIRD="a\\"b \\$c"
WORKDIR /app
EXPOSE 8080/tcp
VOLUME /data
USER app
LABEL who=me
STOPSIGNAL SIGUSR1
HEALTHCHECK --interval=1s --timeout=2s --retries=1 CMD test -e /tmp/healthy
CMD touch /tmp/healthy; echo $(id -un) $(pwd); exec sleep 1000
`;

async function untilHealth(exitCode: number): Promise<void> {
  const probe = async () => (await inOuter(name, "ums", "health")).exitCode === exitCode;
  await poll(`ums health ends with ${exitCode}`, probe, { timeoutMs: 40_000, intervalMs: 500 });
}

if (requires("root", "docker")) test.run();
