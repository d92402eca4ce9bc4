/** The Docker driver on the machine's own engine. */
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { run } from "../../src/lib/exec.js";
import { type DockerOptions, openDocker } from "../../src/orchestrators/docker/driver.js";
import { initAuthority, issueCertificate } from "../../src/peer/pki.js";
import { finish } from "../lib/command.js";
import { outerWithFixture, plainOuterImage } from "../lib/outer-image.js";
import { requires } from "../lib/requires.js";
import type { Bench } from "./bench.js";
import { conformance } from "./suite.js";

const address = "unix:///var/run/docker.sock";
const prefix = "ums-conformance-docker";

async function open(): Promise<Bench> {
  await removeAll();
  const directory = await mkdtemp(join(tmpdir(), `${prefix}-`));
  const tls = join(directory, "tls");
  const allowedBind = join(directory, "allowed");
  await mkdir(allowedBind);
  await initAuthority(join(directory, "ca"));
  await issueCertificate({ directory: join(directory, "ca"), name: "conformance", out: tls });
  const options: Omit<DockerOptions, "address"> = {
    outerTls: { kind: "bind", source: tls },
    allowedBinds: [allowedBind],
  };
  const orchestrator = await openDocker({ ...options, address });
  return {
    orchestrator,
    image: plainOuterImage,
    redisImage: await outerWithFixture("redis"),
    prefix,
    allowedBind,
    openAt: (other, callTimeoutMs) => openDocker({ ...options, address: other, callTimeoutMs }),
    exec: ({ id }, argv) => finish(["docker", "exec", id, ...argv]),
    async published({ id }, port) {
      const { stdout } = await run(["docker", "port", id, `${port}/tcp`]);
      return { host: "127.0.0.1", port: Number(/:(\d+)$/m.exec(stdout)?.[1]) };
    },
    leftovers,
    acts: [
      { name: "update", run: ({ id }) => run(["docker", "update", "--cpus", "1.7", id]) },
      { name: "signal", run: ({ id }) => run(["docker", "kill", "--signal", "WINCH", id]) },
      { name: "pause", run: ({ id }) => run(["docker", "pause", id]) },
      { name: "unpause", run: ({ id }) => run(["docker", "unpause", id]) },
      { name: "rename", run: ({ id, spec }) => run(["docker", "rename", id, `${spec.name}-x`]) },
      { name: "restart", run: ({ id }) => run(["docker", "restart", id], { timeoutMs: 60_000 }) },
      { name: "stop", run: ({ id }) => run(["docker", "stop", id], { timeoutMs: 60_000 }) },
      { name: "start", run: ({ id }) => run(["docker", "start", id]) },
      { name: "kill", run: ({ id }) => run(["docker", "kill", id]) },
      { name: "remove", run: ({ id }) => run(["docker", "rm", "--force", id]) },
    ],
    removeAll,
    async close() {
      await orchestrator.close();
      await removeAll();
      await rm(directory, { recursive: true, force: true });
    },
  };
}

/** Unnamed volumes have no prefix in their name, but the labels of their workload. */
async function leftovers(): Promise<string[]> {
  const list = async (...argv: string[]) =>
    (await run(["docker", ...argv])).stdout.split("\n").filter((line) => line.includes(prefix));
  const label = '{{.Label "ums.service"}}';
  return [
    ...(await list("ps", "--all", "--format", `container {{.Names}} ${label}`)),
    ...(await list("volume", "ls", "--format", `volume {{.Name}} ${label}`)),
    ...(await list("network", "ls", "--format", "network {{.Name}}")),
  ];
}

async function removeAll(): Promise<void> {
  for (const line of await leftovers()) {
    const [kind = "", name = ""] = line.split(" ");
    if (kind === "container") await run(["docker", "rm", "--force", "--volumes", name]);
    else await run(["docker", kind, "rm", name]);
  }
}

if (requires("root", "docker")) conformance("docker", open);
