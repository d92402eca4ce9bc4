/** `ums token`: leave for one source to migrate one service here, once. */
import { X509Certificate } from "node:crypto";
import { readFile } from "node:fs/promises";
import type { Command } from "commander";
import { parseBytes } from "../config.js";
import { UmsError } from "../errors.js";
import { parseIdentity } from "../peer/identity.js";
import { maxTtlSeconds, type TokenOrder, thumbprintOf } from "../peer/token.js";
import { addConnectionFlags, type ConnectionFlags, withSupervisor } from "./connection.js";

interface TokenFlags extends ConnectionFlags {
  from?: string;
  certificate?: string;
  service?: string;
  maxMemory?: string;
  image?: string[];
  ttl: string;
  output: "text" | "json";
}

export function registerToken(program: Command): void {
  addConnectionFlags(program.command("token"))
    .description("let one source migrate a service to this outer container, once")
    .option("--from <name>", "name of the source, as its certificate has it")
    .option("--certificate <file>", "the source's tls.crt: the token is good with no other one")
    .option("--service <service>", "name or id of the service (default: any)")
    .option("--max-memory <size>", "most memory it may bring, e.g. 512m or 2g (default: any)")
    .option("--image <id...>", "images it may be made of, sha256:... (default: any)")
    .option("--ttl <duration>", "how long the token can be used, e.g. 90s; at most 10m", "10m")
    .option("--output <format>", "text or json", "text")
    .action(async (flags: TokenFlags) => {
      const order = await readOrder(flags);
      const issued = await withSupervisor(flags, (client) => client.issueToken(order));
      process.stdout.write(
        flags.output === "json" ? `${JSON.stringify(issued)}\n` : `${issued.token}\n`,
      );
    });
}

/** @throws ERR_CONFIG_INVALID, ERR_PKI, ERR_PEER_IDENTITY */
export async function readOrder(flags: Omit<TokenFlags, "output">): Promise<TokenOrder> {
  const { certificate, service, maxMemory, image } = flags;
  const bound = certificate === undefined ? undefined : await readCertificate(certificate);
  const source = flags.from ?? bound?.name;
  if (source === undefined) {
    throw new UmsError("ERR_CONFIG_INVALID", "a token is for one source: --from or --certificate");
  }
  if (bound !== undefined && bound.name !== source) {
    throw new UmsError(
      "ERR_CONFIG_INVALID",
      `--certificate is that of "${bound.name}", not of "${source}"`,
    );
  }
  return {
    source,
    ttlSeconds: parseTtl(flags.ttl),
    ...(bound === undefined ? {} : { thumbprint: bound.thumbprint }),
    ...(service === undefined ? {} : { service }),
    ...(maxMemory === undefined ? {} : { maxMemoryBytes: parseSize(maxMemory) }),
    ...(image === undefined ? {} : { imageIds: image }),
  };
}

async function readCertificate(path: string): Promise<{ name: string; thumbprint: string }> {
  let certificate: X509Certificate;
  try {
    certificate = new X509Certificate(await readFile(path));
  } catch (cause) {
    const { message } = cause as Error;
    throw new UmsError("ERR_PKI", `${path} is not a certificate: ${message}`, { cause });
  }
  const { role, name } = parseIdentity(certificate);
  if (role !== "peer") throw new UmsError("ERR_PKI", `${path} is that of ${role} ${name}`);
  return { name, thumbprint: thumbprintOf(certificate) };
}

function parseSize(text: string): number {
  const bytes = parseBytes(text);
  if (Number.isSafeInteger(bytes) && bytes > 0) return bytes;
  throw new UmsError("ERR_CONFIG_INVALID", `"${text}" is not a size such as 512m or 2g`);
}

function parseTtl(text: string): number {
  const [, digits, unit] = /^(\d{1,4})(s|m)$/.exec(text) ?? [];
  const seconds = Number(digits) * (unit === "m" ? 60 : 1);
  if (seconds >= 1 && seconds <= maxTtlSeconds) return seconds;
  throw new UmsError("ERR_CONFIG_INVALID", `"${text}" is not a duration from 1s to 10m`);
}
