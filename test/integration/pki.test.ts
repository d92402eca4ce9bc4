import { join } from "node:path";
import { Command } from "commander";
import * as assert from "uvu/assert";
import { registerPki } from "../../src/cli/pki.js";
import { run } from "../../src/lib/exec.js";
import { readIdentity } from "../../src/peer/identity.js";
import { rejectsWith } from "../lib/errors.js";
import { requires } from "../lib/requires.js";
import { suite } from "../lib/suite.js";
import { withDirectory } from "../lib/temporary.js";

const test = suite("ums pki");

function ums(...args: string[]): Promise<Command> {
  const program = new Command().exitOverride();
  registerPki(program);
  return program.parseAsync(["node", "ums", "pki", ...args]);
}

if (requires("openssl")) {
  test("OpenSSL accepts what is issued, strictly, as server and as client", async () => {
    await withDirectory(async (directory) => {
      const [ca, out] = [join(directory, "ca"), join(directory, "a")];
      await ums("init", "--dir", ca);
      await ums("issue", "a", "--dir", ca, "--out", out, "--san", "a.example", "10.0.0.1");
      for (const purpose of ["sslserver", "sslclient"]) {
        const verify = ["openssl", "verify", "-x509_strict", "-purpose", purpose];
        const trust = ["-CAfile", join(out, "ca.crt"), join(out, "tls.crt")];
        const { stdout } = await run([...verify, ...trust]);
        assert.match(stdout, "OK");
      }
      await run(["openssl", "pkey", "-in", join(out, "tls.key"), "-check", "-noout"]);
      const show = ["openssl", "x509", "-noout", "-text", "-in", join(out, "tls.crt")];
      const { stdout } = await run(show);
      assert.match(stdout, "URI:ums://peer/a, DNS:a.example, IP Address:10.0.0.1");
      assert.match(stdout, "CA:FALSE");
      assert.match(stdout, "NIST CURVE: P-256");
    });
  });

  test("one authority's certificate is not another's", async () => {
    await withDirectory(async (directory) => {
      const out = join(directory, "a");
      for (const name of ["ca", "other"]) await ums("init", "--dir", join(directory, name));
      await ums("issue", "a", "--dir", join(directory, "ca"), "--out", out);
      const trust = ["-CAfile", join(directory, "other", "ca.crt"), join(out, "tls.crt")];
      await rejectsWith("ERR_COMMAND_FAILED", run(["openssl", "verify", ...trust]));
    });
  });
}

test("an operator's certificate says so, and lasts as long as asked", async () => {
  await withDirectory(async (directory) => {
    const [ca, out] = [join(directory, "ca"), join(directory, "bob")];
    await ums("init", "--dir", ca);
    await ums("issue", "bob", "--dir", ca, "--out", out, "--operator", "--days", "5");
    const identity = readIdentity(out);
    assert.equal(identity.self, { role: "operator", name: "bob" });
    const days = (identity.notAfterMs - Date.now()) / 86_400_000;
    assert.ok(days > 4.9 && days <= 5, String(days));
    const again = ums("issue", "bob", "--dir", ca, "--out", out);
    await rejectsWith("ERR_PKI", again);
    const never = ums("issue", "x", "--dir", ca, "--out", join(directory, "x"), "--days", "1e9");
    await rejectsWith("ERR_PKI", never);
  });
});

test.run();
