import type Docker from "dockerode";
import type { Untranslatable } from "../contract.js";
import { isPlatformPath } from "../platform.js";

type Host = Docker.HostConfig & Record<string, unknown>;

/** Settings that change what the service can do or see. */
const refusedSettings: Record<string, string> = {
  Devices: "devices of this machine are not elsewhere",
  DeviceRequests: "devices of this machine are not elsewhere",
  VolumeDriver: "its volumes lie with a driver of this engine",
};

/** Settings that weigh or tune; a service runs without them. */
const reportedSettings: Record<string, string> = {
  AutoRemove: "its container is removed when it ends",
  BlkioWeight: "weight of its disk access",
  BlkioWeightDevice: "weight of its disk access",
  BlkioDeviceReadBps: "limit of its disk access",
  BlkioDeviceWriteBps: "limit of its disk access",
  BlkioDeviceReadIOps: "limit of its disk access",
  BlkioDeviceWriteIOps: "limit of its disk access",
  CgroupParent: "its place in this machine's cgroups",
  CpuRealtimePeriod: "real-time share of the CPU",
  CpuRealtimeRuntime: "real-time share of the CPU",
  CpuShares: "relative weight of the CPU",
  CpusetCpus: "certain CPUs of this machine",
  CpusetMems: "certain memory nodes of this machine",
  GroupAdd: "further groups of the outer container's own processes",
  KernelMemory: "limit of kernel memory",
  Links: "names of other containers",
  MemoryReservation: "memory it gets when the machine is short of it",
  OomKillDisable: "it is not killed when memory runs out",
  OomScoreAdj: "its turn when memory runs out",
  StorageOpt: "size of its root file system",
};

/** What a container has that no {@link WorkloadSpec} says. Pure. */
export function inexpressible(container: Docker.ContainerInspectInfo): Untranslatable[] {
  const { Config, HostConfig } = container;
  const host = HostConfig as Host;
  const found: Untranslatable[] = [];
  const add = (setting: string, effect: Untranslatable["effect"], reason: string) =>
    found.push({ setting, effect, reason });

  for (const [name, reason] of Object.entries(refusedSettings)) {
    if (isSet(host[name])) add(`HostConfig.${name}`, "refused", reason);
  }
  for (const [name, reason] of Object.entries(reportedSettings)) {
    if (isSet(host[name])) add(`HostConfig.${name}`, "reported", `lost: ${reason}`);
  }
  addNamespaces(host, add);
  addNetwork(container, add);
  addMounts(host, add);
  const { Memory = 0, MemorySwap = 0 } = host;
  if (MemorySwap !== 0 && MemorySwap !== 2 * Memory) {
    add("HostConfig.MemorySwap", "reported", "lost: how much of it may be swapped out");
  }
  const { Type: logDriver = "json-file" } = host.LogConfig ?? {};
  if (logDriver !== "json-file") {
    add("HostConfig.LogConfig", "reported", `lost: its log goes to ${logDriver}`);
  }
  if (Config.Domainname !== "") {
    add("Config.Domainname", "reported", `lost: its domain ${Config.Domainname}`);
  }
  if (Config.Healthcheck?.Test?.[0] === "NONE") {
    add("Config.Healthcheck", "reported", "lost: the image's health check is switched off");
  }
  return found;
}

type Add = (setting: string, effect: Untranslatable["effect"], reason: string) => void;

function addNamespaces(host: Host, add: Add): void {
  const ownByDefault: Record<string, string[]> = {
    PidMode: ["", "private"],
    UTSMode: ["", "private"],
    UsernsMode: [""],
    IpcMode: ["", "private", "shareable", "none"],
  };
  for (const [name, own] of Object.entries(ownByDefault)) {
    const mode = String(host[name] ?? "");
    if (own.includes(mode)) continue;
    add(`HostConfig.${name}`, "refused", `it shares a namespace of this machine: ${mode}`);
  }
}

function addNetwork({ HostConfig, NetworkSettings }: Docker.ContainerInspectInfo, add: Add): void {
  const mode = HostConfig.NetworkMode ?? "default";
  if (mode === "host" || mode.startsWith("container:")) {
    add("HostConfig.NetworkMode", "refused", `it has no network of its own, but ${mode}`);
  } else if (mode === "none") {
    add("HostConfig.NetworkMode", "refused", "it has no network");
  }
  const others = Object.keys(NetworkSettings.Networks).filter(
    (name) => !["bridge", "host", "none"].includes(name),
  );
  for (const name of others) {
    add(`Networks.${name}`, "reported", `lost: it is in this engine's network ${name}`);
  }
  for (const [key, list] of Object.entries(
    (HostConfig.PortBindings ?? {}) as Record<string, { HostPort?: string }[] | null>,
  )) {
    if (key.endsWith("/sctp"))
      add(`HostConfig.PortBindings.${key}`, "refused", "SCTP is not moved");
    if (list?.some(({ HostPort = "" }) => HostPort.includes("-"))) {
      const reason = "its port is any of a range: elsewhere any free one";
      add(`HostConfig.PortBindings.${key}`, "reported", reason);
    }
  }
}

function addMounts(host: Host, add: Add): void {
  for (const { Type, Target, BindOptions, VolumeOptions } of host.Mounts ?? []) {
    if (isPlatformPath(Target)) continue;
    if (!["volume", "bind", "tmpfs"].includes(Type)) {
      add(`HostConfig.Mounts.${Target}`, "refused", `a mount of type ${Type}`);
    }
    if (isSet(VolumeOptions?.DriverConfig) || isSet(VolumeOptions?.Subpath)) {
      add(`HostConfig.Mounts.${Target}`, "reported", "lost: options of its volume driver");
    }
    if (isSet(BindOptions?.Propagation) && BindOptions?.Propagation !== "rprivate") {
      add(
        `HostConfig.Mounts.${Target}`,
        "refused",
        `it propagates mounts: ${BindOptions?.Propagation}`,
      );
    }
  }
  for (const [target, options] of Object.entries(host.Tmpfs ?? {})) {
    const unknown = options
      .split(",")
      .filter((option) => !/^(|ro|rw|size=\d+[kmg]?|nosuid|nodev|noexec)$/i.test(option));
    if (unknown.length > 0) {
      add(`HostConfig.Tmpfs.${target}`, "reported", `lost: its options ${unknown.join(",")}`);
    }
  }
}

/** Not the engine's way of saying nothing. */
function isSet(value: unknown): boolean {
  if (value === undefined || value === null || value === "" || value === 0 || value === false) {
    return false;
  }
  return typeof value !== "object" || Object.keys(value).length > 0;
}
