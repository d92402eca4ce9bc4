/** A real BIND with one dynamic zone, on a port of its own in a temporary directory. */
import type { ChildProcess } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { NameServer } from "../../src/dns/exchange.js";
import { lookup } from "../../src/dns/lookup.js";
import type { TsigAlgorithm, TsigKey } from "../../src/dns/tsig.js";
import { poll, within } from "../../src/lib/deadline.js";
import { start } from "../../src/lib/exec.js";
import { finish } from "./command.js";

export const zone = "svc.example";
const startTimeoutMs = 30_000;
const stopTimeoutMs = 10_000;

export interface Bind extends NameServer {
  /** May change everything in the zone. */
  key: TsigKey;
  keyFile: string;
  /** May change only what docs/dns.md says to grant, for the name `narrow`. */
  narrowKey: TsigKey;
  /** As a client that knows nothing of UMS asks. */
  dig(...argv: string[]): Promise<string[]>;
  /** As a person changes records by hand. */
  nsupdate(...commands: string[]): Promise<void>;
  stop(): Promise<void>;
  /** Again on the same port, with the same zone. */
  start(): Promise<void>;
  close(): Promise<void>;
}

/** @param host it listens on and is asked at */
export async function openBind(
  host = "127.0.0.1",
  algorithm: TsigAlgorithm = "hmac-sha256",
): Promise<Bind> {
  const directory = await mkdtemp(join(tmpdir(), "ums-bind-"));
  const port = await freePort(host);
  const key = newKey("ums-key.", algorithm);
  const narrowKey = newKey("narrow-key.", algorithm);
  const keyFile = join(directory, "ums.key");
  await writeFile(keyFile, keyText(key), { mode: 0o600 });
  await writeFile(join(directory, "zone.db"), zoneText);
  const configFile = join(directory, "named.conf");
  await writeFile(configFile, configText({ directory, host, port, key, narrowKey }));
  // named looks at the directory again after it has given up being root.
  await chmod(directory, 0o755);
  let server: ChildProcess | undefined;

  const bind: Bind = {
    ...{ host, port, key, keyFile, narrowKey },
    async dig(...argv) {
      const asked = ["dig", `@${host}`, "-p", `${port}`, "+tries=1", "+time=3", "+short", ...argv];
      const { exitCode, stdout } = await finish(asked);
      if (exitCode !== 0) throw new Error(`dig: exit code ${exitCode}: ${stdout}`);
      return stdout.split("\n").filter((line) => line !== "");
    },
    async nsupdate(...commands) {
      const input = [`server ${host} ${port}`, `zone ${zone}`, ...commands, "send", ""].join("\n");
      const { exitCode, stderr } = await finish(["nsupdate", "-k", keyFile], { input });
      if (exitCode !== 0) throw new Error(`nsupdate: exit code ${exitCode}: ${stderr}`);
    },
    async start() {
      server = start(["named", "-f", "-c", configFile], { stdio: "ignore" });
      const child = server;
      await poll("named answers", () => answers(bind, child), {
        timeoutMs: startTimeoutMs,
        intervalMs: 100,
      });
    },
    async stop() {
      if (server === undefined || server.exitCode !== null) return;
      const ended = once(server, "exit");
      server.kill("SIGTERM");
      await within(stopTimeoutMs, "the end of named", ended);
    },
    async close() {
      await bind.stop();
      await rm(directory, { recursive: true, force: true });
    },
  };
  await bind.start();
  return bind;
}

export function newKey(name: string, algorithm: TsigAlgorithm): TsigKey {
  return { name, algorithm, secret: randomBytes(32) };
}

export function keyText({ name, algorithm, secret }: TsigKey): string {
  const lines = [`\talgorithm ${algorithm};`, `\tsecret "${secret.toString("base64")}";`];
  return `key "${name}" {\n${lines.join("\n")}\n};\n`;
}

const zoneText = `$TTL 300
@ IN SOA ns.${zone}. admin.${zone}. 1 3600 600 86400 60
@ IN NS ns.${zone}.
ns IN A 127.0.0.1
alias IN CNAME ns
`;

interface ConfigOptions {
  directory: string;
  host: string;
  port: number;
  key: TsigKey;
  narrowKey: TsigKey;
}

/** Nothing outside the directory is read or written, and nobody else is asked anything. */
function configText({ directory, host, port, key, narrowKey }: ConfigOptions): string {
  return `${keyText(key)}${keyText(narrowKey)}
options {
  directory "${directory}";
  pid-file none;
  session-keyfile "${directory}/session.key";
  managed-keys-directory "${directory}";
  listen-on port ${port} { ${host}; };
  listen-on-v6 { none; };
  recursion no;
  dnssec-validation no;
  minimal-responses yes;
};
controls { };
zone "${zone}" {
  type primary;
  file "${directory}/zone.db";
  update-policy {
    grant ${key.name} zonesub ANY;
    grant ${narrowKey.name} subdomain narrow.${zone} A AAAA TXT;
  };
};
`;
}

async function answers(server: NameServer, child: ChildProcess): Promise<boolean> {
  if (child.exitCode !== null) throw new Error(`named ended with ${child.exitCode}`);
  try {
    await lookup(zone, { server, timeoutMs: 1_000 });
    return true;
  } catch {
    // Not listening, or the zone is not loaded yet: asked again.
    return false;
  }
}

async function freePort(host: string): Promise<number> {
  const server = createServer();
  server.listen({ host, port: 0 });
  await once(server, "listening");
  const address = server.address();
  if (address === null || typeof address === "string") throw new TypeError("a TCP port");
  server.close();
  await once(server, "close");
  return address.port;
}
