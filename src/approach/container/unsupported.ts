/**
 * What CRIU cannot dump, found while the service still runs: a clear refusal before anything is
 * moved instead of a failed dump under the freeze. CRIU stays the judge of all else.
 */
import { readdir, readFile, readlink } from "node:fs/promises";
import { UmsError } from "../../errors.js";
import { isNotFound } from "../../lib/files.js";

const kinds: { link: RegExp; what: string; hint: string }[] = [
  {
    link: /^anon_inode:\[io_uring\]$/,
    what: "an io_uring instance",
    hint: "switch io_uring off in the service (for Node: UV_USE_IO_URING=0)",
  },
  {
    link: /^anon_inode:\[userfaultfd\]$/,
    what: "a userfaultfd",
    hint: "CRIU cannot dump it; stop what uses it",
  },
  {
    link: /^anon_inode:\[?perf_event\]?$/,
    what: "a perf event",
    hint: "detach the profiler from the service",
  },
  {
    link: /^anon_inode:bpf-(prog|link|map)$/,
    what: "a BPF object",
    hint: "CRIU dumps BPF maps only in part; unload it",
  },
  {
    link: /^\/dev\/(nvidia|dri|kfd|fuse|kvm|vhost|snd)/,
    what: "a device",
    hint: "services that hold devices cannot be moved",
  },
];

/**
 * @throws ERR_RESOURCE_UNSUPPORTED naming process, file descriptor and what it is, or a process
 *   that is stopped
 */
export async function checkSupported(pids: readonly number[]): Promise<void> {
  for (const pid of pids) {
    if (isStopped(await readStat(pid))) throw stopped(pid);
  }
  for (const pid of pids) {
    for (const { fd, link } of await openFiles(pid)) {
      const kind = kinds.find((candidate) => candidate.link.test(link));
      if (kind === undefined) continue;
      throw new UmsError(
        "ERR_RESOURCE_UNSUPPORTED",
        `process ${pid} holds ${kind.what} (${link}, file descriptor ${fd})`,
        { hint: kind.hint, details: { pid, fd, link } },
      );
    }
  }
}

/** From /proc/PID/stat (man 5 proc_pid_stat): the state follows the name, which may hold brackets. */
export function isStopped(stat: string): boolean {
  return stat.slice(stat.lastIndexOf(")") + 2).startsWith("T");
}

/**
 * In a frozen cgroup (v1) a stopped task cannot answer PTRACE_SEIZE: CRIU hangs in the kernel's
 * ptrace_attach and the service stays frozen until the dump's own deadline (measured).
 */
function stopped(pid: number): UmsError {
  return new UmsError("ERR_RESOURCE_UNSUPPORTED", `process ${pid} is stopped by a signal`, {
    hint: "continue it (SIGCONT) or end it, then migrate again",
    details: { pid },
  });
}

async function readStat(pid: number): Promise<string> {
  try {
    return await readFile(`/proc/${pid}/stat`, "utf8");
  } catch (error) {
    // It has ended: no obstacle any more.
    if (isNotFound(error) || (error as NodeJS.ErrnoException).code === "ESRCH") return "";
    throw error;
  }
}

/** Processes and descriptors may go while they are looked at; those are no obstacle any more. */
async function openFiles(pid: number): Promise<{ fd: string; link: string }[]> {
  const directory = `/proc/${pid}/fd`;
  const fds = await readdir(directory).catch(() => []);
  const links = fds.map(async (fd) => ({
    fd,
    link: await readlink(`${directory}/${fd}`).catch(() => ""),
  }));
  return Promise.all(links);
}
