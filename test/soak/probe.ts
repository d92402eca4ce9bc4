/**
 * Counts what an outer container has. Runs inside of it: `node --input-type=module -` is given this
 * file, which therefore imports nothing but Node's own modules. Prints one JSON object of numbers.
 * What cannot be read any more (a process that just ended, a file just removed) is not there.
 */
import { execFileSync } from "node:child_process";
import { existsSync, lstatSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { join } from "node:path";

const counts: Record<string, number> = {};

function text(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

function names(path: string): string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}

function lines(content: string): string[] {
  return content.split("\n").filter((line) => line.trim() !== "");
}

function output(program: string, ...args: string[]): string {
  return execFileSync(program, args, { encoding: "utf8", maxBuffer: 64 * 1024 ** 2 });
}

function add(name: string, value: number): void {
  counts[name] = (counts[name] ?? 0) + value;
}

/** The programs that must not grow, by what their command line says. */
function programOf(command: string): string | undefined {
  if (command.includes("main.js") && command.includes("supervise")) return "supervisor";
  if (/^\S*dockerd\b/.test(command)) return "dockerd";
  if (/^\S*containerd (?!-shim)/.test(command)) return "containerd";
  return undefined;
}

function countProcesses(): void {
  add("zombies", 0);
  for (const pid of names("/proc").filter((name) => /^\d+$/.test(name))) {
    const status = text(`/proc/${pid}/status`);
    // Ourselves, and what has ended in this moment.
    if (status === "" || Number(pid) === process.pid) continue;
    add("processes", 1);
    if (/^State:\s+Z/m.test(status)) add("zombies", 1);
    const program = programOf(text(`/proc/${pid}/cmdline`).replaceAll("\0", " "));
    if (program === undefined) continue;
    add(`${program}.rssBytes`, 1024 * Number(/^VmRSS:\s+(\d+)/m.exec(status)?.[1] ?? 0));
    add(`${program}.threads`, Number(/^Threads:\s+(\d+)/m.exec(status)?.[1] ?? 0));
    countDescriptors(program, pid);
  }
}

function countDescriptors(program: string, pid: string): void {
  for (const fd of names(`/proc/${pid}/fd`)) {
    let target: string;
    try {
      target = readlinkSync(`/proc/${pid}/fd/${fd}`);
    } catch {
      continue;
    }
    add(`${program}.fds`, 1);
    if (program !== "supervisor") continue;
    add(`supervisor.fds.${/^(socket|pipe|anon_inode|\/dev)/.exec(target)?.[1] ?? "file"}`, 1);
  }
}

function countNetwork(): void {
  const links = names("/sys/class/net");
  counts["links"] = links.length;
  counts["tunDevices"] = links.filter((name) =>
    existsSync(`/sys/class/net/${name}/tun_flags`),
  ).length;
  counts["routes"] = lines(output("ip", "route", "show", "table", "all")).length;
  counts["ipRules"] = lines(output("ip", "rule", "show")).length;
  // Elements of sets are data: they come and go with the clients, and stand in further lines.
  const ruleset = output("nft", "--stateless", "list", "ruleset");
  const rules = ruleset.replaceAll(/elements = \{[^}]*\}/g, "");
  counts["nftLines"] = lines(rules).length;
  counts["nftElements"] = (ruleset.match(/elements = \{[^}]*\}/g) ?? [])
    .map((elements) => elements.split(",").length)
    .reduce((sum, count) => sum + count, 0);
  counts["conntrackEntries"] = Number(text("/proc/sys/net/netfilter/nf_conntrack_count"));
  counts["unixSockets"] = lines(text("/proc/net/unix")).length - 1;
  const tcp = ["/proc/net/tcp", "/proc/net/tcp6"].flatMap((path) => lines(text(path)).slice(1));
  const states = tcp.map((line) => line.trim().split(/\s+/)[3]);
  counts["tcpEstablished"] = states.filter((state) => state === "01").length;
  counts["tcpCloseWait"] = states.filter((state) => state === "08").length;
}

/** Files and bytes on disk below a directory, on its file system alone. */
function countTree(name: string, root: string, isLeftOut = (_: string) => false): void {
  add(`${name}.files`, 0);
  add(`${name}.bytes`, 0);
  if (!existsSync(root)) return;
  const { dev } = lstatSync(root);
  const visit = (directory: string) => {
    for (const entry of names(directory)) {
      const path = join(directory, entry);
      if (isLeftOut(path)) continue;
      let found: ReturnType<typeof lstatSync>;
      try {
        found = lstatSync(path);
      } catch {
        continue;
      }
      if (found.dev !== dev) continue;
      add(`${name}.files`, 1);
      add(`${name}.bytes`, found.blocks * 512);
      if (found.isDirectory()) visit(path);
    }
  };
  visit(root);
}

function countFiles(): void {
  countTree("runUms", "/run/ums");
  countTree("run", "/run", (path) => path === "/run/ums");
  countTree("state", "/var/lib/ums");
  countTree("dockerVolumes", "/var/lib/docker/volumes");
  countTree("docker", "/var/lib/docker", (path) => path === "/var/lib/docker/volumes");
  countTree("tmp", "/tmp");
  countTree("log", "/var/log");
  countTree("shm", "/dev/shm");
  // Zero-filled ahead: its end is the last byte that is not zero.
  const journal = existsSync("/var/lib/ums/journal")
    ? readFileSync("/var/lib/ums/journal")
    : Buffer.alloc(0);
  counts["journal.bytes"] = journal.findLastIndex((byte) => byte !== 0) + 1;
}

function countCgroups(): void {
  let directories = 0;
  const visit = (path: string) => {
    directories += 1;
    for (const entry of readdirSync(path, { withFileTypes: true })) {
      if (entry.isDirectory()) visit(join(path, entry.name));
    }
  };
  try {
    visit("/sys/fs/cgroup");
  } catch {
    // One was removed meanwhile: counted as far as it went, and again with the next sample.
  }
  counts["cgroups"] = directories;
  const stat = text("/sys/fs/cgroup/memory/memory.stat") || text("/sys/fs/cgroup/memory.stat");
  counts["memory.anonymousBytes"] = Number(/^(?:total_rss|anon) (\d+)/m.exec(stat)?.[1] ?? 0);
  counts["memory.kernelBytes"] = Number(
    text("/sys/fs/cgroup/memory/memory.kmem.usage_in_bytes") ||
      /^kernel (\d+)/m.exec(stat)?.[1] ||
      0,
  );
}

function countEngine(): void {
  counts["containers"] = lines(output("docker", "ps", "-aq")).length;
  counts["volumes"] = lines(output("docker", "volume", "ls", "-q")).length;
  counts["networks"] = lines(output("docker", "network", "ls", "-q")).length;
  counts["images"] = lines(output("docker", "images", "-aq")).length;
}

// Before the programs that the others start.
countProcesses();
counts["mounts"] = lines(text("/proc/self/mountinfo")).length;
countNetwork();
countFiles();
countCgroups();
countEngine();
process.stdout.write(JSON.stringify(counts));
