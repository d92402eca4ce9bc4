import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { parseKeyFile, readKeyFile } from "../../../src/dns/key-file.js";
import { rejectsWith, throwsWith } from "../../lib/errors.js";
import { suite } from "../../lib/suite.js";
import { withDirectory } from "../../lib/temporary.js";

const secret = "BsDWNn1/HMqnmmZX4LqaCXKgLG8JM+wNHDCP7JJy3t0=";
const test = suite("key file");

test("as tsig-keygen writes it", () => {
  const text = `key "ums-key" {\n\talgorithm hmac-sha256;\n\tsecret "${secret}";\n};\n`;
  const key = parseKeyFile(text);
  assert.is(key.name, "ums-key");
  assert.is(key.algorithm, "hmac-sha256");
  assert.is(key.secret.toString("base64"), secret);
});

test("as people write it", () => {
  const key = parseKeyFile(
    `# for UMS\nkey ums.example. { // ours\n secret ${secret}; /* old:\n secret "AAAA"; */ algorithm HMAC-SHA512.; };`,
  );
  assert.is(key.name, "ums.example.");
  assert.is(key.algorithm, "hmac-sha512");
  assert.is(key.secret.length, 32);
});

test("a secret with // in it", () => {
  const bytes = Buffer.from("fffffffffffffff0", "hex");
  const text = `key k { algorithm hmac-sha256; secret "${bytes.toString("base64")}"; };`;
  assert.match(text, "//");
  assert.equal(parseKeyFile(text).secret, bytes);
});

test("what cannot be used is refused", () => {
  const broken = [
    "",
    "nonsense",
    `key k { algorithm hmac-sha256; };`,
    `key k { secret "${secret}"; };`,
    `key k { algorithm hmac-md5; secret "${secret}"; };`,
    `key k { algorithm hmac-sha256; secret "not base64!"; };`,
    `key k { algorithm hmac-sha256; secret ""; };`,
    `key a { algorithm hmac-sha256; secret "${secret}"; }; key b { algorithm hmac-sha256; secret "${secret}"; };`,
  ];
  for (const text of broken) throwsWith("ERR_CONFIG_INVALID", () => parseKeyFile(text));
});

test("an error names the file and never what is in it", async () => {
  await withDirectory(async (directory) => {
    const path = join(directory, "key");
    await rejectsWith("ERR_CONFIG_INVALID", readKeyFile(path));
    await writeFile(path, `key k { algorithm hmac-sha256; secret "${secret}!"; };`);
    const error = await rejectsWith("ERR_CONFIG_INVALID", readKeyFile(path));
    assert.match(error.message, path);
    assert.not.match(JSON.stringify([error.message, error.hint, error.details]), secret);
    assert.is(error.cause, undefined);
  });
});

test.run();
