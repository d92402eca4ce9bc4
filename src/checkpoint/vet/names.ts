import { isPageFileName } from "../../criu/files.js";
import { unsafe } from "./unsafe.js";

/**
 * Kinds of images that a dump of a container in a shared network namespace has (those of CRIU
 * 4.2.1's criu/image-desc.c that it writes for processes, files, IPC, tmpfs and TCP). What is not
 * here is never opened by CRIU: above all images of network devices, routes and packet filters
 * (netdev, route, ifaddr, rule, iptables, nftables), user and process namespaces from
 * outside (userns, pidns), policies (apparmor), and those of plugins (ext-files).
 */
const kinds = [
  /^(inventory|pstree|seccomp|files|cgroup|remap-fpath|filelocks|memfd|tty-info|tty-data)\.img$/,
  /^(pipes-data|fifo-data|sk-queues|inotify-wd|eventpoll-tfd)\.img$/,
  /^(core|ids|mm|fs|fdinfo|mountpoints|netns|netns-ct|netns-exp|utsns|timens|ipcns-(var|shm|msg|sem))-\d{1,10}\.img$/,
  /^tmpfs-dev-\d{1,10}\.tar\.gz\.img$/,
  /^(tcp-stream|ghost-file)-[0-9a-f]{1,8}\.img$/,
  /^descriptors\.json$/,
];

/** @throws ERR_CHECKPOINT_UNSAFE naming a file of a kind that a checkpoint of ours never has */
export function checkNames(names: readonly string[]): void {
  for (const name of names) {
    if (isPageFileName(name) || kinds.some((kind) => kind.test(name))) continue;
    throw unsafe(`it has an image of a kind that no service's own dump has: ${name}`);
  }
}

/** Numbers behind a kind, e.g. the process ids of `core-`. */
export function numbersOf(kind: string, names: readonly string[]): number[] {
  return names.flatMap((name) => {
    const digits = name.startsWith(`${kind}-`) ? name.slice(kind.length + 1, -".img".length) : "";
    return /^\d+$/.test(digits) ? [Number(digits)] : [];
  });
}
