/** A specification goes in and comes out again, and the container is what it says. */
import { once } from "node:events";
import { connect, createServer } from "node:net";
import type { Test } from "uvu";
import * as assert from "uvu/assert";
import { poll, within } from "../../src/lib/deadline.js";
import type { Workload } from "../../src/orchestrators/contract.js";
import { rejectsWith } from "../lib/errors.js";
import type { Bench } from "./bench.js";
import { readyTimeoutMs } from "./life.js";
import { plainSpec, richSpec, settingsOf, without } from "./specs.js";

const serviceTimeoutMs = 60_000;

export function registerTranslation(test: Test, bench: () => Bench): void {
  test("every setting comes back, or was named as untranslatable", async () => {
    const { orchestrator, prefix, image, leftovers } = bench();
    const rich = richSpec(`${prefix}-rich`, image, await freePort());
    const named = orchestrator.untranslatable(rich);
    for (const { setting, reason } of named) assert.ok(reason.length > 10, setting);
    const refused = named.filter(({ effect }) => effect === "refused");
    const reported = named.filter(({ effect }) => effect === "reported");
    const settings = (list: typeof named) => list.map(({ setting }) => setting);

    const given = without(rich, settings(refused));
    const { id } = await orchestrator.create({
      spec: given,
      migrationId: `${prefix}-m-rich`,
      startMode: "passive",
    });
    const ready = await orchestrator.untilReady(id, { timeoutMs: readyTimeoutMs });
    const read = await orchestrator.read(id);
    const present = new Set(settingsOf(read.spec).keys());
    const shared = settings(reported).filter((setting) => present.has(setting));
    assert.equal(without(read.spec, shared), without(given, settings(reported)));
    await expectInside(bench(), ready, without(given, settings(reported)));

    await orchestrator.remove(id);
    assert.equal(await leftovers(), [], "the volumes it made are gone too");
  });

  test("what was created can be created elsewhere: platform parts are not read back", async () => {
    const { orchestrator, prefix, image } = bench();
    const spec = {
      ...plainSpec(`${prefix}-parts`, image),
      env: [
        { name: "UMS_ALLOW_FROM", value: "someone" },
        { name: "UMS_START_MODE", value: "active" },
        { name: "KEPT", value: "yes" },
      ],
      labels: { "ums.migration": "another", kept: "yes" },
    };
    const migrationId = `${prefix}-m-parts`;
    const { id } = await orchestrator.create({ spec, migrationId, startMode: "passive" });
    const read = await orchestrator.read(id);
    assert.is(read.migrationId, migrationId);
    assert.equal(read.spec.env, [{ name: "KEPT", value: "yes" }]);
    assert.equal(read.spec.labels, { kept: "yes" });
    assert.equal(read.spec.mounts, []);
    await orchestrator.remove(id);
  });

  test("a refused setting is an error that names all of them, and makes nothing", async () => {
    const { orchestrator, prefix, image, leftovers } = bench();
    const spec = {
      ...plainSpec(`${prefix}-refused`, image),
      mounts: [
        { kind: "config" as const, source: "no-such-1", target: "/etc/one", isReadOnly: true },
      ],
      sysctls: { "kernel.pid_max": "5000", "vm.swappiness": "1" },
    };
    const named = orchestrator.untranslatable(spec).filter(({ effect }) => effect === "refused");
    const settings = named.map(({ setting }) => setting);
    for (const setting of ["sysctls.kernel.pid_max", "sysctls.vm.swappiness"]) {
      assert.ok(settings.includes(setting), `${settings} lacks ${setting}`);
    }
    const order = { spec, migrationId: `${prefix}-m-refused`, startMode: "passive" as const };
    const error = await rejectsWith("ERR_UNTRANSLATABLE", orchestrator.create(order));
    for (const setting of settings) assert.ok(error.message.includes(setting), error.message);
    assert.equal(error.details["settings"], named);
    assert.equal(await leftovers(), []);
  });

  test("a host path is bound only where that is allowed; elsewhere a new volume takes its place", async () => {
    const { orchestrator, prefix, image, allowedBind, leftovers } = bench();
    const spec = {
      ...plainSpec(`${prefix}-binds`, image),
      mounts: [
        { kind: "bind" as const, source: allowedBind, target: "/allowed", isReadOnly: true },
        { kind: "bind" as const, source: "/etc", target: "/foreign", isReadOnly: false },
        {
          kind: "bind" as const,
          source: `${allowedBind}/../../etc`,
          target: "/sly",
          isReadOnly: false,
        },
      ],
    };
    const named = orchestrator.untranslatable(spec).map(({ setting, effect }) => [setting, effect]);
    assert.equal(named, [
      ["mounts./foreign", "reported"],
      ["mounts./sly", "reported"],
    ]);
    const migrationId = `${prefix}-m-binds`;
    const { id } = await orchestrator.create({ spec, migrationId, startMode: "passive" });
    const workload = await orchestrator.untilReady(id, { timeoutMs: readyTimeoutMs });
    assert.equal(workload.spec.mounts[0], spec.mounts[0]);
    assert.equal(
      workload.spec.mounts.slice(1).map(({ kind, target }) => [kind, target]),
      [
        ["volume", "/foreign"],
        ["volume", "/sly"],
      ],
    );
    const { stdout } = await bench().exec(workload, ["ls", "-A", "/foreign", "/sly"]);
    assert.equal(
      stdout.split(/\s+/).filter((name) => name !== ""),
      ["/foreign:", "/sly:"],
    );
    await orchestrator.remove(id);
    assert.equal(await leftovers(), []);
  });

  test("an active workload serves at its published port, with its arguments and variables", async () => {
    const { orchestrator, prefix, redisImage } = bench();
    const port = await freePort();
    const { id } = await orchestrator.create({
      spec: {
        ...plainSpec(`${prefix}-active`, redisImage),
        args: ["redis-server", "--port", "6390", "--save", "", "--protected-mode", "no"],
        env: [{ name: "GREETING", value: "hello there" }],
        ports: [{ port: 6390, protocol: "tcp", published: port }],
        restart: { policy: "always" },
      },
      migrationId: `${prefix}-m-active`,
      startMode: "active",
    });
    const workload = await orchestrator.untilReady(id, { timeoutMs: readyTimeoutMs });
    const at = await bench().published(workload, 6390);
    assert.is(at.port, port);
    // The supervisor is ready a moment before the service is.
    const answers = async () => (await ask(at, "PING\r\n")).startsWith("+PONG");
    await poll("the service answers", answers, { timeoutMs: serviceTimeoutMs, intervalMs: 200 });
    const inside = await bench().exec(workload, [
      "ums",
      "exec",
      "--",
      "sh",
      "-c",
      "echo $GREETING",
    ]);
    assert.is(inside.stdout.trim(), "hello there", inside.stderr);
    await orchestrator.remove(id);
    assert.equal(await bench().leftovers(), []);
  });
}

/** What the kernel says in the outer container; `spec` has only what the driver promised. */
async function expectInside(
  bench: Bench,
  workload: Workload,
  spec: ReturnType<typeof plainSpec>,
): Promise<void> {
  const inside = async (script: string) => {
    const { stdout, stderr } = await bench.exec(workload, ["sh", "-c", script]);
    return (stdout || stderr).trim();
  };
  const { memoryBytes, cpus, pids, shmBytes } = spec.resources;
  const cgroup = (v2: string, v1: string) =>
    inside(`cat /sys/fs/cgroup/${v2} 2>/dev/null || cat /sys/fs/cgroup/${v1}`);
  if (memoryBytes !== undefined) {
    const limit = await cgroup("memory.max", "memory/memory.limit_in_bytes");
    assert.is(limit, `${memoryBytes}`, "memory limit");
  }
  if (cpus !== undefined) {
    const quota = await inside(
      "cat /sys/fs/cgroup/cpu.max 2>/dev/null || " +
        "echo $(cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us /sys/fs/cgroup/cpu/cpu.cfs_period_us)",
    );
    const [quotaUs = "", periodUs = ""] = quota.split(" ");
    assert.is(Number(quotaUs) / Number(periodUs), cpus, `CPU limit: ${quota}`);
  }
  if (pids !== undefined) assert.is(await cgroup("pids.max", "pids/pids.max"), `${pids}`, "pids");
  if (shmBytes !== undefined) {
    assert.is(await inside("stat -fc '%b %S' /dev/shm | awk '{print $1*$2}'"), `${shmBytes}`);
  }
  const environment = (await inside("tr '\\0' '\\n' </run/ums/environ")).split("\n");
  for (const { name, value } of spec.env) assert.ok(environment.includes(`${name}=${value}`), name);
  if (spec.user !== undefined) assert.ok(environment.includes(`UMS_USER=${spec.user}`));
  if (spec.isReadOnlyRoot) assert.ok(environment.includes("UMS_READ_ONLY=true"));
  assert.ok(environment.includes("UMS_START_MODE=passive"));
  const command = (await inside("tr '\\0' '\\n' </proc/1/cmdline; echo .")).split("\n");
  assert.equal(command.slice(-1 - (spec.args?.length ?? 0), -1), spec.args ?? []);
  for (const { name, soft, hard } of spec.ulimits) {
    assert.is(name, "nofile");
    assert.match(await inside("cat /proc/1/limits"), new RegExp(`open files +${soft} +${hard} `));
  }
  for (const [name, value] of Object.entries(spec.sysctls)) {
    assert.is(await inside(`cat /proc/sys/${name.replaceAll(".", "/")}`), value, name);
  }
  const mounts = await inside("cat /proc/mounts");
  for (const { kind, target, isReadOnly } of spec.mounts) {
    const [, fsType, options] = new RegExp(` ${target} (\\S+) (\\S+)`).exec(mounts) ?? [];
    assert.is(fsType === "tmpfs", kind === "tmpfs", `${target} is ${fsType}`);
    assert.is(options?.split(",").includes("ro"), isReadOnly, `${target}: ${options}`);
  }
  if (spec.hostname !== undefined) assert.is(await inside("hostname"), spec.hostname);
  if (spec.workingDir !== undefined) assert.is(await inside("cat /run/ums/cwd"), spec.workingDir);
  const resolver = await inside("cat /etc/resolv.conf");
  for (const word of Object.values(spec.dns).flat()) assert.ok(resolver.includes(word), resolver);
  const hosts = await inside("cat /etc/hosts");
  for (const [host, address] of Object.entries(spec.extraHosts)) {
    assert.match(hosts, new RegExp(`^${address}\\s+${host}$`, "m"));
  }
}

/** A TCP port that nobody has now. */
export async function freePort(): Promise<number> {
  const server = createServer();
  server.listen(0, "0.0.0.0");
  await once(server, "listening");
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, "close");
  return port;
}

/** Empty when there is no answer. */
async function ask(at: { host: string; port: number }, question: string): Promise<string> {
  const socket = connect(at);
  try {
    await within(10_000, "a connection", once(socket, "connect"));
    socket.write(question);
    const [answer] = await within(10_000, "an answer", once(socket, "data"));
    return `${answer}`;
  } catch {
    // Nobody listens behind the port yet.
    return "";
  } finally {
    socket.destroy();
  }
}
