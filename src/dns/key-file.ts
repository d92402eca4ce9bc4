/** Key files as BIND's tsig-keygen writes them and named.conf includes them. */
import { readFile } from "node:fs/promises";
import { UmsError } from "../errors.js";
import { type TsigAlgorithm, type TsigKey, tsigAlgorithms } from "./tsig.js";

/** @throws ERR_CONFIG_INVALID when it cannot be read or used; never tells what is in it */
export async function readKeyFile(path: string): Promise<TsigKey> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (cause) {
    throw new UmsError("ERR_CONFIG_INVALID", `the key file ${path} cannot be read`, { cause });
  }
  try {
    return parseKeyFile(text);
  } catch (thrown) {
    const { message, hint } = UmsError.from(thrown);
    throw new UmsError("ERR_CONFIG_INVALID", `the key file ${path} cannot be used: ${message}`, {
      ...(hint === undefined ? {} : { hint }),
    });
  }
}

/**
 * Parses `key "NAME" { algorithm hmac-sha256; secret "BASE64"; };`, one key a file, with the
 * comments named.conf may have.
 * @throws ERR_CONFIG_INVALID
 */
export function parseKeyFile(text: string): TsigKey {
  const bare = text.replace(/\/\*[\s\S]*?\*\/|(?:^|\s)(?:#|\/\/).*$/gm, " ");
  const match = /^\s*key\s+"?([^\s"{;]+)"?\s*\{([^{}]*)\}\s*;?\s*$/.exec(bare);
  const [, name, body] = match ?? [];
  if (name === undefined || body === undefined) {
    throw invalid("it is not exactly one `key` statement");
  }
  const algorithm = settingOf(body, "algorithm").toLowerCase().replace(/\.$/, "");
  if (!isAlgorithm(algorithm)) {
    throw invalid(`its algorithm is not one of ${tsigAlgorithms.join(", ")}`);
  }
  const encoded = settingOf(body, "secret");
  const secret = Buffer.from(encoded, "base64");
  if (secret.length === 0 || secret.toString("base64") !== encoded) {
    throw invalid("its secret is not Base64");
  }
  return { name, algorithm, secret };
}

function settingOf(body: string, word: string): string {
  const match = new RegExp(`(?:^|[;\\s])${word}\\s+(?:"([^"]*)"|([^\\s";]+))\\s*;`).exec(body);
  const value = match?.[1] ?? match?.[2];
  if (value === undefined) throw invalid(`it has no ${word}`);
  return value;
}

function isAlgorithm(text: string): text is TsigAlgorithm {
  return (tsigAlgorithms as string[]).includes(text);
}

function invalid(reason: string): UmsError {
  return new UmsError("ERR_CONFIG_INVALID", reason, {
    hint: "make one by `tsig-keygen -a hmac-sha256 NAME`",
  });
}
