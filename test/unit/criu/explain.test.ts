/** Excerpts of real logs of CRIU 4.2.1, shortened to their errors and warnings. */
import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { explainCriuLog, explainCriuText } from "../../../src/criu/explain.js";
import { suite } from "../../lib/suite.js";
import { withDirectory } from "../../lib/temporary.js";

const test = suite("CRIU's log explained");

/** Every log begins with these where we run. */
const noise = `
(00.000812) Error (criu/tun.c:85): tun: Unable to create tun: No such file or directory
(00.001201) Warn  (criu/kerndat.c:1290): Can't keep kdat cache on non-tempfs
(00.003310) Error (criu/util.c:1534): rlimit: Can't setup RLIMIT_NOFILE for self: Operation not permitted
`;

const logs: { title: string; log: string; message: string; hint: RegExp | undefined }[] = [
  {
    title: "io_uring",
    log: `
Error (criu/proc_parse.c:502): Unknown shit 600 (anon_inode:[io_uring])
Error (criu/proc_parse.c:738): Can't open 18's mapfile link 7fb724a04000: No such device or address
Error (criu/cr-dump.c:1440): Collect mappings (pid: 18) failed with -1
Error (criu/cr-dump.c:1975): Dumping FAILED.`,
    message: "the service has an io_uring instance open",
    hint: /seccomp/,
  },
  {
    title: "a unix socket to the outside",
    log: `
Warn  (compel/arch/x86/src/lib/infect.c:419): Will restore 13 with interrupted system call
Error (criu/sk-unix.c:874): unix: External socket is used. Consider using --ext-unix-sk option.
Error (criu/cr-dump.c:1975): Dumping FAILED.`,
    message: "a unix socket of the service is connected to a process outside of it",
    hint: /close the connection/,
  },
  {
    title: "a device",
    log: `
Error (criu/files-ext.c:94): Can't dump file 7 of that type [20644] (chr 10:237)
Error (criu/cr-dump.c:1545): Dump files (pid: 71) failed with -1
Error (criu/cr-dump.c:1975): Dumping FAILED.`,
    message: "descriptor 7 of the service is a device CRIU knows not: chr 10:237",
    hint: /close it/,
  },
  {
    title: "a full disk",
    log: `
Error (criu/page-xfer.c:263): page-xfer: Unable to spice data: No space left on device
Error (criu/bfd.c:131): bfd: Error flushing image: No space left on device
Error (criu/mem.c:718): Can't dump page with parasite
Error (criu/cr-dump.c:1975): Dumping FAILED.`,
    message: "no room for the checkpoint",
    hint: /memory/,
  },
  {
    title: "a missing file",
    log: `
    42: Error (criu/files-reg.c:2353): Can't open file t/file on restore: No such file or directory
    42: Error (criu/files-reg.c:2267): Can't open file t/file: No such file or directory
    42: Error (criu/files.c:1221): Unable to open fd=5 id=0x6
Error (criu/cr-restore.c:1265): 42 exited, status=1
Error (criu/cr-restore.c:2331): Restoring FAILED.`,
    message: "file /t/file is missing at the destination",
    hint: /not moved/,
  },
  {
    title: "a file that changed",
    log: `
    42: Error (criu/files-reg.c:2175): File t/file has bad size 13 (expect 4)
    42: Error (criu/files.c:1221): Unable to open fd=5 id=0x6
Error (criu/cr-restore.c:2331): Restoring FAILED.`,
    message: "file /t/file differs between the two sides",
    hint: /image/,
  },
  {
    title: "a taken process id",
    log: `
Error (criu/cr-restore.c:1237): Can't fork for 42: File exists
Error (criu/cr-restore.c:2331): Restoring FAILED.`,
    message: "process id 42 is taken in the destination's container",
    hint: /empty/,
  },
  {
    title: "a cause it does not know, beside a zombie's warning",
    log: `
Warn  (compel/src/lib/infect.c:132): Unable to interrupt task: 33 (Operation not permitted)
(00.120001) Error (criu/tun.c:306): tun: Net namespace is required to dump tun link
Error (criu/cr-dump.c:1975): Dumping FAILED.`,
    message: "CRIU: Error (criu/tun.c:306): tun: Net namespace is required to dump tun link",
    hint: undefined,
  },
];

for (const { title, log, message, hint } of logs) {
  test(title, () => {
    const failure = explainCriuText(noise + log);
    assert.is(failure.message, message);
    if (hint === undefined) assert.is(failure.hint, undefined);
    else assert.match(failure.hint ?? "", hint);
    assert.match(failure.logTail, /FAILED/);
  });
}

test("a log without an error says so", () => {
  assert.is(explainCriuText(noise).message, "CRIU failed without naming a cause");
});

test("a missing log is explained, not thrown", async () => {
  await withDirectory(async (directory) => {
    const logPath = join(directory, "dump.log");
    const failure = await explainCriuLog(logPath);
    assert.is(failure.logPath, logPath);
    assert.is(failure.message, "CRIU failed without naming a cause");
  });
});

test("a failed run's log is kept, and only the newest of them", async () => {
  await withDirectory(async (directory) => {
    const logPath = join(directory, "dump.log");
    const kept = join(directory, "logs");
    await mkdir(kept);
    for (let n = 10; n < 40; n += 1) await writeFile(join(kept, `2000-${n}-dump.log`), "");
    await writeFile(logPath, "the whole log\n");
    const failure = await explainCriuLog(logPath, kept);
    await rm(logPath);
    assert.is(await readFile(failure.logPath, "utf8"), "the whole log\n");
    assert.is((await readdir(kept)).length, 20);
  });
});

test.run();
