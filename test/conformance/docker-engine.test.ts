/** What only a Docker engine has: containers made by its own client, and published supervisors. */
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { run } from "../../src/lib/exec.js";
import { openDocker } from "../../src/orchestrators/docker/driver.js";
import { initAuthority, issueCertificate } from "../../src/peer/pki.js";
import { rejectsWith } from "../lib/errors.js";
import { plainOuterImage } from "../lib/outer-image.js";
import { requires } from "../lib/requires.js";
import { suite } from "../lib/suite.js";
import { expectSupervisor, readyTimeoutMs } from "./life.js";
import { plainSpec } from "./specs.js";
import { freePort } from "./translation.js";

const address = "unix:///var/run/docker.sock";
const prefix = "ums-conformance-engine";

const test = suite("Docker engine");
let directory = "";
/** The machine's own address in the engine's default network. */
let host = "";

test.before(async () => {
  await removeAll();
  const format = "{{(index .IPAM.Config 0).Gateway}}";
  const gateway = await run(["docker", "network", "inspect", "bridge", "--format", format]);
  host = gateway.stdout.trim();
  directory = await mkdtemp(join(tmpdir(), `${prefix}-`));
  await initAuthority(join(directory, "ca"));
  const out = join(directory, "tls");
  await issueCertificate({ directory: join(directory, "ca"), name: "engine", out });
});
test.after.each(removeAll);
test.after(async () => {
  await rm(directory, { recursive: true, force: true });
});

test("a container of `docker create` is read as its user wrote it", async () => {
  const name = `${prefix}-written`;
  await create(
    name,
    [
      ...["--hostname", "db", "--workdir", "/srv", "--read-only", "--tty", "--interactive"],
      ...["-e", "A=1", "-e", "UMS_USER=7:8", "-e", "UMS_START_MODE=passive", "--label", "team=red"],
      ...["-p", `${host}::6379`, "-p", "15353:53/udp", "--expose", "7000"],
      ...["-v", `${prefix}-named:/data:ro`, "-v", "/unnamed", "-v", `${directory}:/host`],
      ...["-v", `${directory}/tls:/etc/ums/tls:ro`, "-v", `${prefix}-state:/var/lib/ums`],
      ...["--mount", `type=volume,source=${prefix}-mount,target=/mount,readonly`],
      ...["--tmpfs", "/cache:size=32m,ro", "--memory", "1g", "--cpu-quota", "50000"],
      ...["--pids-limit", "200", "--shm-size", "128m", "--restart", "on-failure:3"],
      ...["--health-cmd", "test -f /ok", "--health-interval", "9s", "--dns", "192.0.2.1"],
      ...["--add-host", "six:2001:db8::1", "--ulimit", "nofile=100:200"],
      ...["--sysctl", "net.core.somaxconn=99", "--stop-signal", "SIGQUIT", "--stop-timeout", "7"],
    ],
    ["redis-server", "--save", ""],
  );
  const orchestrator = await openDocker({ address });
  const workload = await orchestrator.read(name);
  assert.is(workload.state, "starting");
  assert.is(workload.migrationId, undefined);
  assert.is(workload.inexpressible, undefined);
  assert.equal(workload.spec, {
    name,
    image: plainOuterImage,
    args: ["redis-server", "--save", ""],
    env: [{ name: "A", value: "1" }],
    ports: [
      { port: 53, protocol: "udp", published: 15_353 },
      { port: 6379, protocol: "tcp", published: 0, address: host },
      { port: 7000, protocol: "tcp" },
    ],
    mounts: [
      { kind: "volume", source: `${prefix}-mount`, target: "/mount", isReadOnly: true },
      { kind: "volume", source: `${prefix}-named`, target: "/data", isReadOnly: true },
      { kind: "bind", source: directory, target: "/host", isReadOnly: false },
      { kind: "tmpfs", source: "", target: "/cache", isReadOnly: true, sizeBytes: 2 ** 25 },
      { kind: "volume", source: "", target: "/unnamed", isReadOnly: false },
    ],
    resources: { memoryBytes: 2 ** 30, cpus: 0.5, pids: 200, shmBytes: 2 ** 27 },
    labels: { team: "red", "ums.test": prefix },
    probes: {
      readiness: {
        action: { kind: "exec", command: ["/bin/sh", "-c", "test -f /ok"] },
        periodMs: 9_000,
      },
    },
    restart: { policy: "on-failure", maxRetries: 3 },
    hostname: "db",
    user: "7:8",
    workingDir: "/srv",
    isReadOnlyRoot: true,
    dns: { servers: ["192.0.2.1"], searches: [], options: [] },
    extraHosts: { six: "2001:db8::1" },
    ulimits: [{ name: "nofile", soft: 100, hard: 200 }],
    sysctls: { "net.core.somaxconn": "99" },
    stopSignal: "SIGQUIT",
    stopTimeoutMs: 7_000,
    isTty: true,
    hasStdin: true,
  });
  await orchestrator.close();
});

test("what a specification has no words for is told", async () => {
  const name = `${prefix}-odd`;
  await create(name, [
    ...["--device", "/dev/null:/dev/odd", "--pid", "host", "--network", "host", "--rm"],
    ...["--cpu-shares", "77", "--memory", "1g", "--memory-swap", "1536m", "--no-healthcheck"],
    ...["--tmpfs", "/cache:mode=700", "--log-driver", "syslog", "--cpuset-cpus", "0"],
  ]);
  const orchestrator = await openDocker({ address });
  const { inexpressible = [] } = await orchestrator.read(name);
  const settings = (effect: string) =>
    inexpressible.filter((one) => one.effect === effect).map(({ setting }) => setting);
  assert.equal(settings("refused").sort(), [
    "HostConfig.Devices",
    "HostConfig.NetworkMode",
    "HostConfig.PidMode",
  ]);
  assert.equal(settings("reported").sort(), [
    "Config.Healthcheck",
    "HostConfig.AutoRemove",
    "HostConfig.CpuShares",
    "HostConfig.CpusetCpus",
    "HostConfig.LogConfig",
    "HostConfig.MemorySwap",
    "HostConfig.Tmpfs./cache",
  ]);
  await orchestrator.close();
});

test("an engine is reached by TCP too, and other addresses are refused at once", async () => {
  const proxy = createServer((socket) => {
    const engine = connect(address.slice("unix://".length));
    socket.pipe(engine).pipe(socket);
  });
  proxy.listen(0, "127.0.0.1");
  await once(proxy, "listening");
  const { port } = proxy.address() as { port: number };
  const orchestrator = await openDocker({ address: `tcp://127.0.0.1:${port}` });
  assert.match((await orchestrator.describe()).version, /^\d+\./);
  await orchestrator.close();
  proxy.close();
  await once(proxy, "close");
  await rejectsWith("ERR_ORCHESTRATOR_UNAVAILABLE", orchestrator.list());
  for (const wrong of ["", "docker.sock", "unix://", "ssh://host", "tcp://"]) {
    await rejectsWith("ERR_CONFIG_INVALID", openDocker({ address: wrong }));
  }
});

test("a container that is no outer one is none of ours", async () => {
  const name = `${prefix}-foreign`;
  const argv = ["docker", "create", "--name", name, "--label", `ums.test=${prefix}`];
  await run([...argv, "ums-fixture/programs", "true"]);
  const orchestrator = await openDocker({ address });
  await rejectsWith("ERR_SERVICE_NOT_FOUND", orchestrator.read(name));
  assert.not.ok((await orchestrator.list()).some(({ spec }) => spec.name === name));
  await orchestrator.close();
});

test("a guard notices a signal although the engine has forgotten it", async () => {
  const name = `${prefix}-signalled`;
  const busy = `${prefix}-busy`;
  await create(name, ["--entrypoint", "sleep"], ["1000"]);
  await run(["docker", "start", name]);
  await create(busy, []);
  const orchestrator = await openDocker({ address });
  const { id } = await orchestrator.read(name);
  const guard = await orchestrator.guard(id, `${prefix}-m`);
  await run(["docker", "kill", "--signal", "WINCH", name]);
  // The engine keeps the last 256 events of all containers.
  const others = Array.from({ length: 300 }, () => busy);
  await run(["docker", "update", "--restart", "no", ...others], { timeoutMs: 60_000 });
  assert.match(`${await guard.change()}`, /kill with signal/);
  await guard.release();
  await orchestrator.close();
});

test("published supervisors are reached at the machine's address, each at ports of its own", async () => {
  const first = await freePort();
  const orchestrator = await openDocker({
    address,
    outerTls: { kind: "bind", source: join(directory, "tls") },
    published: { host, ports: { first, last: first + 5 } },
  });
  const order = (suffix: string) => ({
    spec: plainSpec(`${prefix}-${suffix}`, plainOuterImage),
    migrationId: `${prefix}-m-${suffix}`,
    startMode: "passive" as const,
  });
  const made = [await orchestrator.create(order("one")), await orchestrator.create(order("two"))];
  try {
    for (const [index, { id, spec }] of made.entries()) {
      const peerPort = first + 3 * index;
      const ready = await orchestrator.untilReady(id, { timeoutMs: readyTimeoutMs });
      assert.equal(ready.endpoint, { host, peerPort, httpPort: peerPort + 1 });
      await expectSupervisor(ready);
      assert.equal(ready.spec, plainSpec(spec.name, plainOuterImage), "no word of it in the spec");
    }
    const third = orchestrator.create(order("three"));
    const { message } = await rejectsWith("ERR_ORCHESTRATOR_REFUSED", third);
    assert.match(message, /no three free ports/);
  } finally {
    for (const { id } of made) await orchestrator.remove(id);
    await orchestrator.close();
  }
});

async function create(name: string, flags: string[], args: string[] = []): Promise<void> {
  const own = ["--name", name, "--label", `ums.test=${prefix}`];
  await run(["docker", "create", ...own, ...flags, plainOuterImage, ...args]);
}

async function removeAll(): Promise<void> {
  const names = async (...argv: string[]) =>
    (await run(["docker", ...argv])).stdout.split("\n").filter((name) => name.startsWith(prefix));
  for (const name of await names("ps", "--all", "--format", "{{.Names}}")) {
    await run(["docker", "rm", "--force", "--volumes", name]);
  }
  for (const name of await names("volume", "ls", "--format", "{{.Name}}")) {
    await run(["docker", "volume", "rm", name]);
  }
}

if (requires("root", "docker")) test.run();
