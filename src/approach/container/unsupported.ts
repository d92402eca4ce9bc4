/**
 * What CRIU cannot dump, found while the service still runs: a clear refusal before anything is
 * moved instead of a failed dump under the freeze. CRIU stays the judge of all else.
 */
import { readdir, readlink } from "node:fs/promises";
import { UmsError } from "../../errors.js";

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

/** @throws ERR_RESOURCE_UNSUPPORTED naming process, file descriptor and what it is */
export async function checkSupported(pids: readonly number[]): Promise<void> {
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
