import { existsSync } from "node:fs";
import { copyFile, mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ContainerInspection, Engine } from "../dockerd/engine.js";
import { run, start } from "../lib/exec.js";
import type { NetworkSpec } from "../spec.js";
import { holderImage, holderName, networkName, ownLabel } from "./names.js";

/** Root file system with nothing but /pause, part of the outer image. */
const pauseArchive = "/usr/local/lib/ums/pause.tar";
/** catatonit(1) has a pause mode and is a static program. */
const pauseProgram = "/usr/bin/catatonit";

/**
 * Makes sure that the netns holder runs: a container that does nothing but own the network
 * namespace, the constant address and the hostname of the service. CRIU then treats the
 * namespace as external, and the address is in place before any socket is restored.
 * @returns the id of the holder
 */
export async function ensureHolder(
  engine: Engine,
  network: NetworkSpec,
  hostname: string,
): Promise<string> {
  const existing = await engine.inspectContainer(holderName);
  if (existing !== undefined && fits(existing, network, hostname)) {
    if (!existing.State.Running) await engine.startContainer(existing.Id);
    return existing.Id;
  }
  if (existing !== undefined) await engine.removeContainer(existing.Id);
  await ensureHolderImage(engine);
  const id = await createHolder(engine, network, hostname);
  await engine.startContainer(id);
  return id;
}

/**
 * Empties the connection tracking of the holder's network, which the engine's address translation
 * for its resolver switches on there. CRIU brings the entries of the source along and the kernel
 * refuses (EBUSY) one that says less than an entry of the same addresses and ports that is there: a
 * connection of an earlier stay, whose client's port is used again by one that is just being made.
 * The whole restore fails then (checkpoint-restore/criu#2129, CRIU 4.2.1). To be called while no
 * service is here.
 */
export async function forgetConnections(engine: Engine, holderId: string): Promise<void> {
  const pid = (await engine.inspectContainer(holderId))?.State.Pid;
  if (pid === undefined || pid === 0) return;
  await run(["nsenter", `--net=/proc/${pid}/ns/net`, "conntrack", "-F"]);
}

function fits(holder: ContainerInspection, network: NetworkSpec, hostname: string): boolean {
  const endpoint = holder.NetworkSettings.Networks[networkName];
  const address = (endpoint?.IPAMConfig as { IPv4Address?: string } | null)?.IPv4Address;
  return address === network.address && holder.Config.Hostname === hostname;
}

function createHolder(engine: Engine, network: NetworkSpec, hostname: string): Promise<string> {
  return engine.createContainer({
    name: holderName,
    Image: holderImage,
    Hostname: hostname,
    Labels: { [ownLabel]: "holder" },
    HostConfig: {
      NetworkMode: networkName,
      ReadonlyRootfs: true,
      CapDrop: ["ALL"],
      Sysctls: holderSysctls(),
    },
    NetworkingConfig: {
      EndpointsConfig: { [networkName]: { IPAMConfig: { IPv4Address: network.address } } },
    },
  });
}

/**
 * CRIU cannot dump MPTCP sockets, and newer Go programs listen with MPTCP wherever the kernel
 * has it (go.dev/doc/go1.24); without it they use TCP.
 */
function holderSysctls(): Record<string, string> {
  const sysctls: Record<string, string> = {
    // As the engine does for containers with a network of their own: low ports for every user.
    "net.ipv4.ip_unprivileged_port_start": "0",
  };
  if (existsSync("/proc/sys/net/mptcp/enabled")) sysctls["net.mptcp.enabled"] = "0";
  return sysctls;
}

/** Makes the holder's image, which needs no network and is the same for every service. */
export async function ensureHolderImage(engine: Engine): Promise<void> {
  if ((await engine.inspectImage(holderImage)) !== undefined) return;
  if (existsSync(pauseArchive)) return await importPause(engine, ["cat", pauseArchive]);
  const directory = await mkdtemp(join(tmpdir(), "ums-pause-"));
  try {
    await mkdir(join(directory, "rootfs"));
    await copyFile(pauseProgram, join(directory, "rootfs", "pause"));
    await importPause(engine, ["tar", "-C", join(directory, "rootfs"), "-c", "pause"]);
  } finally {
    await rm(directory, { recursive: true });
  }
}

/** Imports the archive that `argv` writes to its stdout. */
async function importPause(engine: Engine, argv: string[]): Promise<void> {
  const archive = start(argv, { stdio: ["ignore", "pipe", "inherit"] });
  if (archive.stdout === null) throw new TypeError("stdout is a pipe");
  await engine.importImage(archive.stdout, holderImage, ['CMD ["/pause","-P"]']);
}
