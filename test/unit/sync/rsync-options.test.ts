import * as assert from "uvu/assert";
import { anchoredPattern, daemonConfig, senderArgv } from "../../../src/sync/rsync-options.js";
import { suite } from "../../lib/suite.js";

const test = suite("rsync options");

const options = {
  tree: { name: "t", path: "/data/it's", kind: "volume" },
  port: 4242,
  mode: "mirror",
  excludes: [],
  timeoutSeconds: 9,
} as const;

test("mirrors with deletions and links, in place only when told", () => {
  const argv = senderArgv(options);
  for (const option of ["--recursive", "--delete", "--hard-links", "--modify-window=-1"]) {
    assert.ok(argv.includes(option), option);
  }
  assert.not(argv.includes("--inplace"));
  assert.ok(senderArgv({ ...options, mode: "mirror-in-place" }).includes("--inplace"));
  assert.equal(argv.slice(-2), ["/data/it's/", "rsync://ums@127.0.0.1:4242/tree/"]);
});

test("compares without walking or deleting", () => {
  const argv = senderArgv({ ...options, mode: "compare" });
  assert.not(argv.includes("--recursive"));
  assert.not(argv.includes("--delete"));
  assert.ok(argv.includes("--ignore-times") && argv.includes("--inplace"));
});

test("anchors an excluded path and escapes wildcards only where rsync unescapes them", () => {
  assert.is(anchoredPattern("/a/b/"), "/a/b");
  assert.is(anchoredPattern("a\\b"), "/a\\b");
  assert.is(anchoredPattern("a[1]*\\"), "/a\\[1\\]\\*\\\\");
});

test("confines the daemon", () => {
  const paths = { path: "/run/x/root", secretsPath: "/run/x/secrets", logPath: "/run/x/log" };
  const lines = daemonConfig({ ...paths, timeoutSeconds: 9 }).split("\n");
  for (const line of ["use chroot = yes", "write only = yes", "auth users = ums"]) {
    assert.ok(lines.includes(line), line);
  }
  assert.ok(lines.some((line) => line.startsWith("refuse options = * ")));
});

test.run();
