/** Every place where a service has files, and what can be special about them. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { type OuterContainer, type OuterLab, openOuterLab } from "../lib/outer.js";
import { outerWithFixture } from "../lib/outer-image.js";
import { requires } from "../lib/requires.js";
import { suite } from "../lib/suite.js";

const test = suite("migration of files");
let lab: OuterLab;
let bound: string;
let source: OuterContainer;
let destination: OuterContainer;

/** One file in each kind of mount; `/data` is the image's VOLUME, which nobody mounted. */
const mounts = ["/named", "/bound", "/data", "/cache", "/dev/shm"];

/** Changes of the root file system; perl is the only tool here that sets extended attributes. */
const changes = `
  rm /etc/issue
  rm -r /etc/alternatives && echo replaced >/etc/alternatives
  rm -r /var/spool && mkdir /var/spool && touch /var/spool/new
  echo changed >>/etc/debian_version
  mkdir -p /work/sub && cd /work
  echo one >hard-a && ln hard-a sub/hard-b
  ln -s ../nowhere dangling
  echo owned >owned && chown 1234:4321 owned && chmod 4750 owned
  mkdir sticky && chmod 1777 sticky && chown 7:8 sticky
  echo dated >dated && touch -d '2001-02-03 04:05:06.789' dated
  mkfifo pipe && mknod null c 1 3
  truncate -s 100M sparse && echo end >>sparse
  printf 'odd\\n' >"$(printf 'a name with\\nnewline and \\303\\244')"
  echo marked >marked && perl -e '
    ($f, $n, $v) = ("marked", "user.ums", "value"); syscall(188, $f, $n, $v, 5, 0) == 0 or die $!'
`;

/** Everything about those files, as text. */
const listing = `
  cd /work
  find . -print0 | sort -z | xargs -0 stat -c '%n %F %a %u:%g %s %h %Y %t:%T'
  find . -type f ! -name sparse -print0 | sort -z | xargs -0 sha256sum
  stat -c %y dated
  readlink dangling
  [ "$(stat -c %i hard-a)" = "$(stat -c %i sub/hard-b)" ] && echo 'still one file'
  tail -c 4 sparse && [ "$(stat -c %b sparse)" -lt 1000 ] && echo 'still sparse'
  perl -e '
    ($f, $n, $v) = ("marked", "user.ums", "-" x 9);
    print substr($v, 0, syscall(191, $f, $n, $v, 9)), "\\n"'
  cat /etc/alternatives /etc/debian_version
  ls /var/spool
  [ ! -e /etc/issue ] && echo 'still deleted'
`;

test.before(async () => {
  lab = await openOuterLab("ums-test-files");
  bound = await mkdtemp(join(tmpdir(), "ums-test-files-"));
  const image = await outerWithFixture("redis");
  const volume = await lab.volume("named");
  [source, destination] = await Promise.all([
    lab.start("a", {
      image,
      flags: ["-v", `${volume}:/named`, "-v", `${bound}:/bound`, "--tmpfs", "/cache"],
    }),
    lab.start("b"),
  ]);
});

test.after(async () => {
  await lab?.close();
  await rm(bound, { recursive: true, force: true });
});

test("moves deletions, links, owners, modes, times, holes and attributes", async () => {
  await source.asRoot(`set -e\n${changes}`);
  for (const mount of mounts) {
    await source.asRoot(`echo in ${mount} >${mount}/file && chown 99:98 ${mount}/file`);
  }
  const before = await source.asRoot(listing);
  assert.match(
    before,
    /still one file\n[\s\S]*still sparse\nvalue\nreplaced\n[\s\S]*\nnew\nstill deleted/,
  );
  await source.move(destination);
  assert.is(await destination.asRoot(listing), before);
});

for (const mount of mounts) {
  test(`moves what is in ${mount}`, async () => {
    const found = await destination.asRoot(`cat ${mount}/file && stat -c %u:%g ${mount}/file`);
    assert.is(found, `in ${mount}\n99:98\n`);
  });
}

test("takes changes made at the destination back", async () => {
  await destination.asRoot("rm /work/sub/hard-b /named/file && echo two >/work/hard-a");
  await destination.asRoot("echo back >/named/back && rm /data/file");
  await destination.move(source);
  const found = await source.asRoot("cat /work/hard-a; ls /work/sub /named; ls /data/file || true");
  assert.is(found, "two\n/named:\nback\n\n/work/sub:\n");
});

if (requires("root", "docker")) test.run();
