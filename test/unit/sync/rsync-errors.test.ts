import * as assert from "uvu/assert";
import { rsyncFailure } from "../../../src/sync/rsync-errors.js";
import type { SyncPass } from "../../../src/sync/tree.js";
import { suite } from "../../lib/suite.js";

const test = suite("rsync errors");

function codeOf(pass: SyncPass, exitCode: number | null, messages = ""): string | undefined {
  return rsyncFailure("t", pass, { exitCode, messages })?.code;
}

const vanished = 'file has vanished: "/t/a"\n';
const closing = "rsync error: some files could not be transferred (code 23) at main.c(1)\n";

test("lets files change under a live pass, not under a final one", () => {
  const unverified = "ERROR: a failed verification -- update discarded.\n";
  assert.is(codeOf("live", 24, vanished), undefined);
  assert.is(codeOf("live", 23, unverified + vanished + closing), undefined);
  assert.is(codeOf("final", 24, vanished), "ERR_SYNC_FAILED");
  assert.is(codeOf("final", 23, unverified), "ERR_SYNC_FAILED");
});

test("reports in a live pass what the final one would meet as well", () => {
  const refused =
    'rsync: [receiver] rsync_xal_set: lsetxattr("a","user.x") failed: not supported\n';
  const failure = rsyncFailure("t", "live", { exitCode: 23, messages: refused + closing });
  assert.is(failure?.code, "ERR_SYNC_FAILED");
  assert.match(failure?.message ?? "", "lsetxattr");
});

test("tells a full disk, a cut stream and silence apart", () => {
  const full = 'rsync: [receiver] write failed on "/f" (in tree): No space left on device (28)\n';
  assert.is(codeOf("live", 11, full), "ERR_NO_ROOM");
  assert.is(codeOf("final", 12), "ERR_TRANSFER_SHORT");
  assert.is(codeOf("final", 30), "ERR_DEADLINE");
  assert.is(codeOf("final", null), "ERR_SYNC_FAILED");
  assert.is(codeOf("final", 0), undefined);
});

test.run();
