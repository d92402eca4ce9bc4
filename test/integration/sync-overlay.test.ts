/** Shared writable mappings, and the changes of a real overlay mount. Needs root. */
import { execFileSync } from "node:child_process";
import { mkdir, mkdtemp, readFile, rm, stat } from "node:fs/promises";
import { connect, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Duplex } from "node:stream";
import koffi from "koffi";
import * as assert from "uvu/assert";
import { type MountedTree, mappedFiles } from "../../src/sync/mapped-files.js";
import { freeBytes, measureTree } from "../../src/sync/measure.js";
import { createTreeReceiver, flushTree } from "../../src/sync/rsync-receiver.js";
import { syncTree } from "../../src/sync/rsync-sender.js";
import type { FileTree } from "../../src/sync/tree.js";
import { requires } from "../lib/requires.js";
import { suite } from "../lib/suite.js";

const test = suite("synchronization of live file systems");
const timeoutMs = 20_000;
let directory = "";

test.before.each(async () => {
  directory = await mkdtemp(join(tmpdir(), "ums-overlay-"));
});
test.after.each(async () => {
  sh("umount source 2>/dev/null || true");
  await rm(directory, { recursive: true, force: true });
});

const at = (...names: string[]) => join(directory, ...names);

function sh(script: string): string {
  return execFileSync("sh", ["-euc", script], { cwd: directory, encoding: "utf8" });
}

/** Runs `work` with streams to a receiver of `destination`. */
async function withReceiver(
  destination: FileTree,
  work: (openStream: () => Promise<Duplex>) => Promise<void>,
): Promise<void> {
  const receiver = createTreeReceiver(destination, { runDirectory: directory, timeoutMs });
  const sockets: Socket[] = [];
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.push(socket);
    // The sender's error is the one the test sees.
    receiver.receive(socket).catch(() => {});
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { port: number };
  try {
    await work(async () => connect({ port, host: "127.0.0.1", allowHalfOpen: true }));
  } finally {
    await receiver.close();
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  }
}

const libc = koffi.load("libc.so.6");
const open = libc.func("int open(const char *path, int flags)");
const close = libc.func("int close(int fd)");
const mmap = libc.func("void *mmap(void *addr, size_t n, int prot, int flags, int fd, long off)");
const munmap = libc.func("int munmap(void *addr, size_t n)");
const memcpy = libc.func("void *memcpy(void *to, const char *from, size_t n)");
const pageBytes = 4_096;

/** Maps the first page of a file as a service would: PROT_READ | PROT_WRITE, MAP_SHARED. */
function mapShared(path: string): { write(text: string): void; unmap(): void } {
  const fd: number = open(path, 2);
  const address: unknown = mmap(null, pageBytes, 3, 1, fd, 0);
  close(fd);
  return {
    write: (text) => memcpy(address, text, text.length),
    unmap: () => munmap(address, pageBytes),
  };
}

test("loses a change behind a mapping without the list, and not with it", async () => {
  const source: MountedTree = {
    name: "data",
    path: at("source"),
    kind: "volume",
    // This process sees the volume where it lies.
    destination: at("source"),
  };
  await mkdir(source.path);
  // A tmpfs is never written back: no page becomes clean, and its next write visible, by chance.
  sh("mount -t tmpfs none source");
  for (const isListed of [false, true]) {
    const destination: FileTree = { name: "data", path: at(`to-${isListed}`), kind: "volume" };
    await mkdir(destination.path);
    sh("head -c 8192 /dev/zero > source/db");
    const mapping = mapShared(at("source", "db"));
    try {
      mapping.write("first");
      await withReceiver(destination, async (openStream) => {
        await syncTree(source, openStream, { pass: "live", timeoutMs });
        const { mtimeNs } = await stat(at("source", "db"), { bigint: true });
        mapping.write("later");
        assert.is((await stat(at("source", "db"), { bigint: true })).mtimeNs, mtimeNs);
        const mapped = await mappedFiles([process.pid], [source]);
        assert.equal(mapped.get("data"), ["db"]);
        const alwaysCompare = isListed ? (mapped.get("data") ?? []) : [];
        await syncTree(source, openStream, { pass: "final", timeoutMs, alwaysCompare });
      });
    } finally {
      mapping.unmap();
    }
    const copy = await readFile(join(destination.path, "db"), "latin1");
    assert.is(copy.slice(0, 5), isListed ? "later" : "first");
  }
});

test("finds a mapped file by its other name when the first was deleted", async () => {
  const tree: MountedTree = { name: "t", path: at("t"), kind: "volume", destination: at("t") };
  sh("mkdir t; head -c 4096 /dev/zero > t/a; ln t/a t/b");
  const mapping = mapShared(at("t", "a"));
  try {
    sh("rm t/a");
    assert.ok((await mappedFiles([process.pid], [tree])).get("t")?.includes("b"));
  } finally {
    mapping.unmap();
  }
});

const mountOverlay = (side: string) =>
  `mount -t overlay none -o lowerdir=lower,upperdir=${side}/upper,workdir=${side}/work ${side}/merged`;

const describeMerged = (side: string) =>
  sh(`cd ${side}/merged; find . -printf '%P %y %m %U:%G %n %T@ %l\\n' | sort
    find . -type f -exec sha256sum {} + | sort; getfattr -R -h -d -m - -e hex . 2>/dev/null || true`);

test("shows the same merged view of an overlay at the destination", async () => {
  // An overlay cannot lie on an overlay, and the tests may run inside a container.
  sh("mkdir fs; mount -t tmpfs none fs");
  const root = directory;
  directory = at("fs");
  try {
    sh(`mkdir -p lower/d/deep lower/gone lower/o a/upper a/work a/merged b/upper b/work b/merged
      for f in d/one d/two d/deep/x gone/y o/hidden top; do echo $f > lower/$f; done
      ${mountOverlay("a")}; cd a/merged
      echo changed > d/one; rm d/two; rm -r gone; rm -r o; mkdir o; echo new > o/new
      chown 12:34 top; ln top top-link; touch -d @1234567890.123456789 d`);
    const source: FileTree = { name: "rootfs", path: at("a", "upper"), kind: "rootfs" };
    const destination: FileTree = { name: "rootfs", path: at("b", "upper"), kind: "rootfs" };
    await withReceiver(destination, async (openStream) => {
      await syncTree(source, openStream, { pass: "live", timeoutMs });
      sh("cd a/merged; rm -r d; mkdir d; echo n > d/n; rm o/new; echo again > top");
      await syncTree(source, openStream, { pass: "final", timeoutMs });
    });
    await flushTree(destination, 10_000);
    sh(mountOverlay("b"));
    assert.is(describeMerged("b"), describeMerged("a"));
    assert.not.match(describeMerged("b"), "hidden");
  } finally {
    directory = root;
    sh("umount fs/a/merged fs/b/merged 2>/dev/null || true; umount -l fs");
  }
});

test("measures allocated bytes and inodes, holes and links once", async () => {
  sh("mkdir -p m/d; head -c 1000000 /dev/urandom > m/d/f; ln m/d/f m/l; truncate -s 1G m/hole");
  const { bytes, files } = await measureTree(at("m"));
  assert.ok(bytes >= 1_000_000 && bytes < 1_100_000, `${bytes}`);
  assert.is(files, 4);
  assert.ok((await freeBytes(directory)) > 0);
});

if (requires("root", "rsync", "getfattr")) test.run();
