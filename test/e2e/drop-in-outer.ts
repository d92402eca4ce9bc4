/** Outer containers for the drop-in tests, run by the docker client as users do. */
import { once } from "node:events";
import { buffer } from "node:stream/consumers";
import { buildOuterImage } from "../../src/cli/build.js";
import { openEngine } from "../../src/dockerd/engine.js";
import { poll, within } from "../../src/lib/deadline.js";
import { run, start } from "../../src/lib/exec.js";

export const prefix = "ums-test-drop-in";
export const innerImage = `${prefix}/inner:1`;
export const outerImage = `${prefix}/outer:1`;
/** The outer image under test, without a nested one. */
export const plainOuterImage = process.env["UMS_TEST_OUTER"] ?? "ums/outer:latest";

const containerTimeoutMs = 90_000;

/** A root file system with nothing but Debian's static busybox. */
const innerDockerfile = `
FROM ums/base:trixie AS system
RUN apt-get update -q && apt-get install -y --no-install-recommends busybox-static \\
 && mkdir -p /rootfs/bin /rootfs/etc /rootfs/root && mkdir -m 1777 /rootfs/tmp \\
 && for name in $(busybox --list); do ln -s busybox "/rootfs/bin/$name"; done \\
 && rm -f /rootfs/bin/busybox && cp "$(command -v busybox)" /rootfs/bin/busybox \\
 && printf 'root:x:0:0::/root:/bin/sh\\napp:x:1000:1000::/:/bin/sh\\n' >/rootfs/etc/passwd
FROM scratch
COPY --from=system /rootfs /
ENV PATH=/bin
CMD ["sh"]
`;

export interface RunResult {
  exitCode: number;
  stdout: Buffer;
  stderr: string;
}

/** Builds the nested image and the outer one that holds it. */
export async function buildImages(): Promise<void> {
  await buildImage(innerImage, innerDockerfile);
  await wrapImage(innerImage, outerImage);
}

export async function buildImage(tag: string, dockerfile: string): Promise<void> {
  await run(["docker", "build", "-q", "-t", tag, "-"], { input: dockerfile, timeoutMs: 300_000 });
}

export async function wrapImage(inner: string, outer: string): Promise<void> {
  const engine = openEngine("unix:///var/run/docker.sock");
  await buildOuterImage(engine, inner, { tag: outer, outer: plainOuterImage });
}

/** `docker run` in the foreground, to its end. */
export async function runOuter(
  name: string,
  options: readonly string[],
  args: readonly string[],
  input?: string,
): Promise<RunResult> {
  const child = start(await outerArgv(name, ["--rm", ...options], args), {
    stdio: ["pipe", "pipe", "pipe"],
  });
  if (child.stdin === null || child.stdout === null || child.stderr === null) {
    throw new TypeError("three pipes");
  }
  child.stdin.end(input ?? "");
  const work = Promise.all([buffer(child.stdout), buffer(child.stderr), once(child, "exit")]);
  const [stdout, stderr, [exitCode]] = await within(containerTimeoutMs, `docker run ${name}`, work);
  return { exitCode: exitCode as number, stdout, stderr: stderr.toString("utf8") };
}

/** `docker run -d`; resolves when the service has printed `ready`. */
export async function startOuter(
  name: string,
  options: readonly string[],
  args: readonly string[],
  ready: string,
): Promise<void> {
  await run(await outerArgv(name, ["-d", ...options], args));
  await untilPrinted(name, ready);
}

export async function outerArgv(
  name: string,
  options: readonly string[],
  args: readonly string[],
): Promise<[string, ...string[]]> {
  await removeOuter(name);
  const flags = (await run(["scripts/outer-flags.sh"])).stdout.trim().split("\n");
  const image = options.find((option) => option.startsWith("image="))?.slice("image=".length);
  const others = options.filter((option) => !option.startsWith("image="));
  return ["docker", "run", "--name", name, ...flags, ...others, image ?? outerImage, ...args];
}

/** What the service has printed so far. */
export async function printed(name: string): Promise<{ stdout: string; stderr: string }> {
  return await run(["docker", "logs", name], { maxOutputBytes: 64 * 1024 * 1024 });
}

export async function untilPrinted(name: string, text: string): Promise<void> {
  await poll(`${name} prints ${text}`, async () => (await printed(name)).stdout.includes(text), {
    timeoutMs: containerTimeoutMs,
    intervalMs: 200,
  });
}

/** Runs a command in the outer container; the exit code is not looked at. */
export async function inOuter(name: string, ...argv: string[]): Promise<RunResult> {
  const child = start(["docker", "exec", name, ...argv], { stdio: ["ignore", "pipe", "pipe"] });
  if (child.stdout === null || child.stderr === null) throw new TypeError("two pipes");
  const work = Promise.all([buffer(child.stdout), buffer(child.stderr), once(child, "exit")]);
  const [stdout, stderr, [exitCode]] = await within(30_000, argv.join(" "), work);
  return { exitCode: exitCode as number, stdout, stderr: stderr.toString("utf8") };
}

/** Kills a program in the outer container with SIGKILL. @returns its pid there */
export async function killInOuter(name: string, pattern: string): Promise<string> {
  const { stdout } = await inOuter(name, "pgrep", "-f", "-o", pattern);
  const pid = stdout.toString("utf8").trim();
  await inOuter(name, "kill", "-9", pid);
  return pid;
}

/** Resolves with the exit code once the container has ended. */
export async function untilEnded(name: string): Promise<number> {
  const { stdout } = await run(["docker", "wait", name], { timeoutMs: containerTimeoutMs });
  return Number(stdout.trim());
}

export async function removeOuter(name: string): Promise<void> {
  await run(["docker", "rm", "-fv", name]).catch(() => {
    // There is none: what was wanted.
  });
}

/** Removes every container, volume, network and image with our prefix. */
export async function cleanUp(): Promise<void> {
  const list = async (...argv: string[]) =>
    (await run(["docker", ...argv])).stdout.split("\n").filter((line) => line !== "");
  for (const name of await list("ps", "-aq", "--filter", `name=${prefix}`)) await removeOuter(name);
  for (const name of await list("volume", "ls", "-q", "--filter", `name=${prefix}`)) {
    await run(["docker", "volume", "rm", name]);
  }
  for (const name of await list("network", "ls", "-q", "--filter", `name=${prefix}`)) {
    await run(["docker", "network", "rm", name]);
  }
}
