/** The ways a service's new place is told, made from the configuration. */
import { readFile } from "node:fs/promises";
import type { Config } from "../config.js";
import { claimName } from "../dns/claim.js";
import { type NameServer, parseNameServer } from "../dns/exchange.js";
import { readKeyFile } from "../dns/key-file.js";
import { canonicalName, encodeName } from "../dns/wire.js";
import { UmsError } from "../errors.js";
import type { ServiceSpec } from "../spec.js";
import { callWebhook } from "../webhook/webhook.js";
import type { Target } from "./announce.js";

export interface TargetDeps {
  /** Where clients reach this outer container when `UMS_DNS_ADDRESS` does not say. */
  ownAddress(): string;
  /** The service's ports, e.g. `6379/tcp`. */
  ports(spec: ServiceSpec): Promise<string[]>;
}

/** The service's name and who has it; also for whoever asks what the name shows. */
export interface DnsSettings {
  name: string;
  zone: string;
  server: NameServer;
  keyFile: string;
  ttlSeconds: number;
}

/** Undefined without `UMS_DNS_NAME`. @throws ERR_CONFIG_INVALID */
export function dnsSettings(config: Config): DnsSettings | undefined {
  const { UMS_DNS_NAME, UMS_DNS_SERVER, UMS_DNS_TSIG_FILE } = config;
  if (UMS_DNS_NAME === undefined) return undefined;
  if (UMS_DNS_SERVER === undefined) throw missing("UMS_DNS_SERVER", "UMS_DNS_NAME");
  if (UMS_DNS_TSIG_FILE === undefined) throw missing("UMS_DNS_TSIG_FILE", "UMS_DNS_NAME");
  const name = canonicalName(UMS_DNS_NAME);
  const zone = canonicalName(config.UMS_DNS_ZONE ?? name.slice(name.indexOf(".") + 1));
  // Both fail here, at the start, rather than after a migration.
  encodeName(name);
  encodeName(zone);
  if (name !== zone && !name.endsWith(`.${zone}`)) {
    throw new UmsError("ERR_CONFIG_INVALID", `UMS_DNS_NAME=${name} is not in the zone ${zone}`, {
      details: { variable: "UMS_DNS_ZONE" },
    });
  }
  return {
    name,
    zone,
    server: parseNameServer(UMS_DNS_SERVER),
    keyFile: UMS_DNS_TSIG_FILE,
    ttlSeconds: config.UMS_DNS_TTL,
  };
}

/** @throws ERR_CONFIG_INVALID */
export function announceTargets(config: Config, deps: TargetDeps): Target[] {
  const addresses = () =>
    config.UMS_DNS_ADDRESS.length > 0 ? config.UMS_DNS_ADDRESS : [deps.ownAddress()];
  const dns = dnsSettings(config);
  const targets: Target[] = [];
  if (dns !== undefined) targets.push(dnsTarget(dns, addresses));
  if (config.UMS_WEBHOOK_URL !== undefined) {
    targets.push(webhookTarget(config, config.UMS_WEBHOOK_URL, dns?.name, addresses, deps));
  }
  return targets;
}

function dnsTarget(settings: DnsSettings, addresses: () => readonly string[]): Target {
  const { name, zone, server, keyFile, ttlSeconds } = settings;
  return {
    name: "dns",
    version: () => [name, ttlSeconds, ...addresses()].join(" "),
    async tell({ epoch, spec }, { signal, isOwner }) {
      // Read each time: a mounted secret may have been replaced.
      const key = await readKeyFile(keyFile);
      const shown = addresses();
      const { outcome, previous } = await claimName({
        ...{ name, zone, server, key, ttlSeconds, addresses: shown },
        ...{ serviceId: spec.serviceId, epoch, signal, isOwner },
      });
      const before = outcome === "changed" ? ` instead of ${previous.join(", ") || "nothing"}` : "";
      return `${name} shows ${shown.join(", ")}${before}`;
    },
  };
}

function webhookTarget(
  config: Config,
  url: string,
  name: string | undefined,
  addresses: () => readonly string[],
  deps: TargetDeps,
): Target {
  const secretFile = config.UMS_WEBHOOK_SECRET_FILE;
  if (secretFile === undefined) throw missing("UMS_WEBHOOK_SECRET_FILE", "UMS_WEBHOOK_URL");
  if (!URL.canParse(url)) {
    throw new UmsError("ERR_CONFIG_INVALID", "UMS_WEBHOOK_URL is not a URL", {
      details: { variable: "UMS_WEBHOOK_URL" },
    });
  }
  return {
    name: "webhook",
    version: () => addresses().join(" "),
    async tell({ migrationId, from, spec }, { signal }) {
      const endpoint = [...addresses()];
      const body = {
        service: spec.name,
        serviceId: spec.serviceId,
        migrationId,
        name: name ?? null,
        from,
        to: `${deps.ownAddress()}:${config.UMS_PEER_PORT}`,
        endpoint,
        ports: await deps.ports(spec),
      };
      const secret = await readSecret(secretFile);
      await callWebhook(body, { url, secret, signal });
      return `${new URL(url).host} was told ${endpoint.join(", ")}`;
    },
  };
}

async function readSecret(path: string): Promise<string> {
  let secret: string;
  try {
    secret = (await readFile(path, "utf8")).trim();
  } catch (cause) {
    throw new UmsError("ERR_CONFIG_INVALID", `the secret file ${path} cannot be read`, { cause });
  }
  if (secret === "") throw new UmsError("ERR_CONFIG_INVALID", `the secret file ${path} is empty`);
  return secret;
}

function missing(variable: string, because: string): UmsError {
  return new UmsError("ERR_CONFIG_INVALID", `${variable} is missing: ${because} needs it`, {
    details: { variable },
  });
}
