/** The archive of a tmpfs, which tar(1) unpacks as root. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import * as assert from "uvu/assert";
import {
  type ArchiveEntry,
  createWalk,
  entryRule,
  walkArchive,
} from "../../../src/checkpoint/vet/archive.js";
import { run } from "../../../src/lib/exec.js";
import { rejectsWith, throwsWith } from "../../lib/errors.js";
import { suite } from "../../lib/suite.js";
import { withDirectory } from "../../lib/temporary.js";

const test = suite("archive of a tmpfs");
const code = "ERR_CHECKPOINT_UNSAFE";

/** A ustar header with its content padded. */
function entry(name: string, type = "0", more: Partial<Record<string, string>> = {}): Buffer {
  const content = Buffer.from(more["content"] ?? "");
  const header = Buffer.alloc(512);
  header.write(name, 0);
  header.write("0000644\0", 100);
  header.write(`${content.length.toString(8).padStart(11, "0")}\0`, 124);
  header.write(type, 156);
  header.write(more["link"] ?? "", 157);
  header.write("ustar  \0", 257);
  header.write(more["major"] ?? "", 329);
  header.write(more["minor"] ?? "", 337);
  header.fill(" ", 148, 156);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
  const padding = Buffer.alloc((512 - (content.length % 512)) % 512);
  return Buffer.concat([header, content, padding]);
}

function walk(archive: Buffer, devices?: readonly string[], pieceBytes = 100): ArchiveEntry[] {
  const seen: ArchiveEntry[] = [];
  const rule = entryRule(devices);
  const walking = createWalk((found) => {
    rule(found);
    seen.push(found);
  });
  for (let at = 0; at < archive.length; at += pieceBytes) {
    walking.push(archive.subarray(at, at + pieceBytes));
  }
  walking.end();
  return seen;
}

const refuses = (...parts: Buffer[]): void => {
  throwsWith(code, () => walk(Buffer.concat(parts), []));
};

test("reads what GNU tar writes: long names, links, holes", () =>
  withDirectory(async (directory) => {
    const long = `${"d".repeat(90)}/${"f".repeat(120)}`;
    const script = [
      ["mkdir", "-p", join(directory, "t", "d".repeat(90))],
      ["truncate", "-s", "9M", join(directory, "t", "holes")],
      ["ln", "-s", "/etc/passwd", join(directory, "t", "link")],
    ];
    for (const argv of script) await run(argv);
    await writeFile(join(directory, "t", long), "x".repeat(700));
    for (let at = 0; at < 9; at += 1) {
      const holes = join(directory, "t", "holes");
      const where = [`of=${holes}`, "bs=1M", `seek=${at}`, "count=1", "conv=notrunc"];
      await run(["dd", "if=/dev/urandom", ...where.map((arg) => arg.replace("1M", "4k"))]);
    }
    const path = join(directory, "a.tar.gz");
    // As CRIU does (criu/filesystems.c).
    const options = ["--create", "--gzip", "--no-unquote", "--no-wildcards", "--sparse"];
    const more = ["--one-file-system", "--numeric-owner", "--preserve-permissions"];
    await run(["tar", ...options, ...more, "-f", path, "-C", join(directory, "t"), "."]);
    const names: string[] = [];
    const rule = entryRule(undefined);
    await walkArchive(path, (found) => {
      rule(found);
      names.push(found.name);
    });
    assert.equal(
      names.sort(),
      ["./", `./${"d".repeat(90)}/`, `./${long}`, "./holes", "./link"].sort(),
    );
  }));

test("refuses what leads out by ..", () => {
  refuses(entry("../evil"));
  refuses(entry("./a/../../evil"));
});

test("refuses absolute names, also in long ones", () => {
  refuses(entry("/etc/evil"));
  refuses(entry("././@LongLink", "L", { content: `/${"x".repeat(200)}\0` }), entry("x"));
  refuses(entry("pax", "x", { content: "18 path=/etc/evil\n" }), entry("x"));
});

test("refuses a name through a link of the archive", () =>
  refuses(entry("way", "2", { link: "/etc" }), entry("./way/evil")));

test("refuses a hard link to something outside", () =>
  refuses(entry("x", "1", { link: "/etc/shadow" })));

test("lets a symbolic link lead anywhere", () => {
  assert.is(walk(entry("fd", "2", { link: "/proc/self/fd" })).length, 1);
});

test("refuses devices but granted ones", () => {
  refuses(entry("sda", "4", { major: "0000010\0", minor: "0000000\0" }));
  refuses(entry("mem", "3", { major: "0000001\0", minor: "0000001\0" }));
  const nullDevice = entry("null", "3", { major: "0000001\0", minor: "0000003\0" });
  assert.is(walk(nullDevice, []).length, 1);
  throwsWith(code, () => walk(nullDevice, undefined));
});

test("refuses kinds and attributes that change what tar reads", () => {
  refuses(entry("x", "g", { content: "18 path=/etc/evil\n" }));
  refuses(entry("x", "V"));
  refuses(entry("pax", "x", { content: "22 GNU.sparse.name=/x\n" }), entry("x"));
});

test("refuses what is damaged, cut off or no archive", async () => {
  const damaged = entry("x");
  damaged[0] = 0x79;
  refuses(damaged);
  throwsWith(code, () => walk(entry("x", "0", { content: "abc" }).subarray(0, 600)));
  await withDirectory(async (directory) => {
    const path = join(directory, "a.tar.gz");
    await writeFile(path, "no gzip");
    await rejectsWith(
      code,
      walkArchive(path, () => {}),
    );
    await writeFile(path, gzipSync(entry("x")).subarray(0, 40));
    await rejectsWith(
      code,
      walkArchive(path, () => {}),
    );
  });
});

test.run();
