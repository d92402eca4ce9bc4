/** Trees through real rsync processes and real TCP sockets. Needs root (devices, trusted xattrs). */
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readFile, rm, stat, utimes, writeFile } from "node:fs/promises";
import { connect, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Duplex } from "node:stream";
import * as assert from "uvu/assert";
import { UmsError } from "../../src/errors.js";
import { within } from "../../src/lib/deadline.js";
import { createTreeReceiver } from "../../src/sync/rsync-receiver.js";
import { prepareSync, syncTree } from "../../src/sync/rsync-sender.js";
import type { FileTree } from "../../src/sync/tree.js";
import { requires } from "../lib/requires.js";
import { suite } from "../lib/suite.js";

interface Pair {
  directory: string;
  source: FileTree;
  destination: FileTree;
  openStream(): Promise<Duplex>;
  /** How each receive() ended, in order of their start. */
  outcomes: Promise<UmsError | undefined>[];
  sockets: Socket[];
  close(): Promise<void>;
}

/** A source and a destination tree joined by a TCP server, as two outer containers would be. */
async function openPair(destinationPath?: string): Promise<Pair> {
  const directory = await mkdtemp(join(tmpdir(), "ums-sync-"));
  const source: FileTree = { name: "t", path: join(directory, "source"), kind: "rootfs" };
  const path = destinationPath ?? join(directory, "100% #destination");
  const destination: FileTree = { name: "t", path, kind: "rootfs" };
  await mkdir(source.path);
  await mkdir(destination.path, { recursive: true });
  const receiver = createTreeReceiver(destination, { runDirectory: directory, timeoutMs: 20_000 });
  const outcomes: Pair["outcomes"] = [];
  const sockets: Socket[] = [];
  const server: Server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    sockets.push(socket);
    outcomes.push(
      receiver.receive(socket).then(
        () => undefined,
        (error: unknown) => UmsError.from(error),
      ),
    );
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { port: number };
  return {
    directory,
    source,
    destination,
    outcomes,
    sockets,
    openStream: () =>
      new Promise((resolve, reject) => {
        const socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true, noDelay: true });
        socket.once("connect", () => resolve(socket));
        socket.once("error", reject);
      }),
    async close() {
      await receiver.close();
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
      await rm(directory, { recursive: true, force: true });
    },
  };
}

const test = suite("tree synchronization");
const timeoutMs = 20_000;

function sh(script: string, cwd: string): string {
  return execFileSync("sh", ["-euc", script], { cwd, encoding: "utf8" });
}

/**
 * Everything that must be equal, as text: kinds, modes, owners, link groups, nanosecond mtimes,
 * device numbers, targets, contents, ACLs and extended attributes.
 */
function describeTree(path: string): string {
  const list = sh(
    `find . -printf '%P %y %m %U:%G %n %T@ %l\\n' | sort
     find . -type f -exec sha256sum {} + | sort
     find . \\( -type c -o -type b \\) -exec stat -c '%n %t:%T' {} + | sort
     find . -type f -links +1 -printf '%i %P\\n' | sort -k2 | awk '{ if (!($1 in g)) g[$1]=++n; print g[$1], $2 }'`,
    path,
  );
  const attributes = sh("getfattr -R -h -d -m - -e hex . 2>/dev/null | sort || true", path);
  return `${list}\n${attributes}`;
}

/** user::rw-, user:1234:r--, group::r--, mask::rw-, other::r-- (kernel posix_acl_xattr.h). */
const aclOfUser1234 =
  "0x0200000001000600ffffffff02000400d204000004000400ffffffff10000600ffffffff20000400ffffffff";

const firstContent = `
  mkdir -p plain deep/er/est opaque; echo hello > plain/a; echo other > plain/b; : > plain/empty
  ln plain/a plain/a-link; ln -s ../plain/a deep/link; ln -s /etc/passwd deep/absolute; mkfifo deep/fifo
  mknod whiteout c 0 0; mknod block b 7 9; chmod 4755 plain/b; chown 1234:4321 plain/b deep
  setfattr -n trusted.overlay.opaque -v y opaque; setfattr -n user.note -v n plain/a
  setfattr -n trusted.overlay.origin -v handle plain/empty
  setfattr -n system.posix_acl_access -v ${aclOfUser1234} plain/a
  setfattr -n security.capability -v 0x0100000200040000000000000000000000000000 plain/b
  dd if=/dev/urandom of=big bs=1M count=4 status=none; truncate -s 8M sparse
  printf 'x' > "odd name
with *newline* [and] %P"; touch -d '2001-02-03 04:05:06.123456789' plain/empty; chmod 700 deep/er
  touch -d '2002-02-03 04:05:06.987654321' deep/er plain .`;

const secondContent = `
  rm -r deep/er plain/a-link; echo hellO > plain/a; ln plain/b plain/b-link; rm whiteout; echo file > whiteout
  printf 'tail' >> big; printf 'mid' | dd of=big bs=1 seek=2000000 conv=notrunc status=none
  setfattr -x user.note plain/a; chown 0:7 deep; rm block; mkdir block; echo in > block/in; rm -r opaque; mknod opaque c 0 0
  touch -d '2003-02-03 04:05:06.5' plain`;

test("carries everything in a live pass, and every change in a final one", async () => {
  const pair = await openPair();
  try {
    sh(firstContent, pair.source.path);
    const live = await syncTree(pair.source, pair.openStream, { pass: "live", timeoutMs });
    sh("setfattr -x trusted.overlay.origin plain/empty", pair.source.path);
    assert.is(describeTree(pair.destination.path), describeTree(pair.source.path));
    assert.ok(live.bytesSent > 4_000_000 && live.bytesSent < 14_000_000, `${live.bytesSent}`);
    assert.ok((await stat(join(pair.destination.path, "sparse"))).blocks < 1_000);

    sh(secondContent, pair.source.path);
    const changedSinceMs = live.startedAtMs;
    const final = await syncTree(pair.source, pair.openStream, {
      pass: "final",
      timeoutMs,
      changedSinceMs,
    });
    assert.is(describeTree(pair.destination.path), describeTree(pair.source.path));
    assert.ok(final.bytesSent < 1_000_000, `only differences are sent, not ${final.bytesSent}`);
    assert.equal(await Promise.all(pair.outcomes), [undefined, undefined, undefined]);
    assert.not(existsSync(join(pair.directory, "rsyncd-")));
  } finally {
    await pair.close();
  }
});

test("waits prepared, and then shows what changed meanwhile", async () => {
  const pair = await openPair();
  try {
    sh("echo 1 > a; echo 1 > gone", pair.source.path);
    await syncTree(pair.source, pair.openStream, { pass: "live", timeoutMs });
    const prepared = await prepareSync(pair.source, pair.openStream, { pass: "final", timeoutMs });
    sh("rm gone; echo 22 > a; echo 3 > new", pair.source.path);
    await prepared.run();
    await prepared.close();
    assert.is(describeTree(pair.destination.path), describeTree(pair.source.path));
    assert.equal(await Promise.all(pair.outcomes), [undefined, undefined, undefined]);
  } finally {
    await pair.close();
  }
});

test("updates in place without writing through a link the source has broken", async () => {
  for (const links of ["ln a b", "cp -p a b"]) {
    const pair = await openPair();
    try {
      sh(`echo one > a; ${links}`, pair.source.path);
      await syncTree(pair.source, pair.openStream, { pass: "live", timeoutMs });
      const before = await stat(join(pair.destination.path, "b"));
      sh("echo two > b.new; mv b.new b", pair.source.path);
      await syncTree(pair.source, pair.openStream, { pass: "final", timeoutMs });
      assert.is(describeTree(pair.destination.path), describeTree(pair.source.path));
      const after = await stat(join(pair.destination.path, "b"));
      assert.is(after.ino === before.ino, links !== "ln a b", "in place only without links");
    } finally {
      await pair.close();
    }
  }
});

test("sees a file rewritten with the same size and mtime when told since when", async () => {
  for (const isTold of [false, true]) {
    const pair = await openPair();
    try {
      const file = join(pair.source.path, "f");
      await writeFile(file, "before");
      await utimes(file, 1_000, 1_000);
      const live = await syncTree(pair.source, pair.openStream, { pass: "live", timeoutMs });
      await writeFile(file, "after.");
      await utimes(file, 1_000, 1_000);
      const told = isTold ? { changedSinceMs: live.startedAtMs } : {};
      await syncTree(pair.source, pair.openStream, { pass: "final", timeoutMs, ...told });
      const copy = await readFile(join(pair.destination.path, "f"), "utf8");
      assert.is(copy, isTold ? "after." : "before");
    } finally {
      await pair.close();
    }
  }
});

test("compares listed files by content, links and all", async () => {
  const pair = await openPair();
  try {
    sh("mkdir d; echo before > d/f; ln d/f link; touch -d @1000 d/f", pair.source.path);
    await syncTree(pair.source, pair.openStream, { pass: "live", timeoutMs });
    sh("echo after. > d/f; touch -d @1000 d/f", pair.source.path);
    const alwaysCompare = ["d/f", "no/such/file", "d"];
    await syncTree(pair.source, pair.openStream, { pass: "final", timeoutMs, alwaysCompare });
    assert.is(describeTree(pair.destination.path), describeTree(pair.source.path));
  } finally {
    await pair.close();
  }
});

test("leaves excluded paths alone on both sides", async () => {
  const pair = await openPair();
  try {
    sh("mkdir keep 'a[b'; echo s > keep/s; echo s > 'a[b/s'; echo s > sent", pair.source.path);
    sh("mkdir keep; echo d > keep/d; echo d > extra", pair.destination.path);
    const excludes = ["/keep/", "a[b"];
    await syncTree(pair.source, pair.openStream, { pass: "final", timeoutMs, excludes });
    assert.is(sh("find . -type f | sort", pair.destination.path), "./keep/d\n./sent\n");
  } finally {
    await pair.close();
  }
});

test("reports a full destination as ERR_NO_ROOM on both sides", async () => {
  const mount = await mkdtemp(join(tmpdir(), "ums-sync-full-"));
  sh(`mount -t tmpfs -o size=1m none ${mount}`, "/");
  const pair = await openPair(join(mount, "tree"));
  try {
    sh("head -c 3000000 /dev/urandom > f", pair.source.path);
    const code = await codeOf(syncTree(pair.source, pair.openStream, { pass: "live", timeoutMs }));
    assert.is(code, "ERR_NO_ROOM");
    assert.is((await pair.outcomes[0])?.code, "ERR_NO_ROOM");
  } finally {
    await pair.close();
    sh(`umount ${mount}`, "/");
    await rm(mount, { recursive: true });
  }
});

test("reports a stream cut half way as ERR_TRANSFER_SHORT, on both sides", async () => {
  const pair = await openPair();
  try {
    sh("head -c 200000000 /dev/zero | tr '\\0' 'x' > f", pair.source.path);
    const sync = codeOf(syncTree(pair.source, pair.openStream, { pass: "live", timeoutMs }));
    while ((pair.sockets[0]?.bytesRead ?? 0) < 1_000_000) {
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    pair.sockets[0]?.destroy();
    assert.is(await within(10_000, "the sender", sync), "ERR_TRANSFER_SHORT");
    assert.is((await pair.outcomes[0])?.code, "ERR_TRANSFER_SHORT");
  } finally {
    await pair.close();
  }
});

test("ends by its deadline or signal when the peer is silent", async () => {
  const server = createServer((socket) => socket.resume());
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { port: number };
  const opened: Socket[] = [];
  const openStream = async () => {
    const socket = connect(port, "127.0.0.1");
    opened.push(socket);
    return socket;
  };
  const tree: FileTree = { name: "t", path: tmpdir(), kind: "volume" };
  try {
    const late = syncTree(tree, openStream, { pass: "live", timeoutMs: 300 });
    assert.is(await within(5_000, "the deadline", codeOf(late)), "ERR_DEADLINE");
    const signal = AbortSignal.timeout(100);
    const cancelled = syncTree(tree, openStream, { pass: "live", timeoutMs, signal });
    assert.is(await within(5_000, "the signal", codeOf(cancelled)), "ERR_CANCELLED");
  } finally {
    for (const socket of opened) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  }
});

async function codeOf(work: Promise<unknown>): Promise<string> {
  try {
    await work;
    return "none";
  } catch (error) {
    return error instanceof UmsError ? error.code : String(error);
  }
}

if (requires("root", "rsync", "setfattr")) test.run();
