/**
 * Redis goes from A to B, back to A, and to B again while the name server is down. Its name at a real BIND follows it, and a client that knows
 * only the name, and looks it up for each connection, always finds it.
 */
import { once } from "node:events";
import { createServer, type Server } from "node:http";
import { text } from "node:stream/consumers";
import * as assert from "uvu/assert";
import { markerName } from "../../src/dns/claim.js";
import { lookup } from "../../src/dns/lookup.js";
import { poll, sleep } from "../../src/lib/deadline.js";
import type { WebhookBody } from "../../src/webhook/webhook.js";
import { bridgeAddress } from "../lib/bridge-address.js";
import { finish } from "../lib/command.js";
import { type Bind, openBind, zone } from "../lib/name-server.js";
import { type OuterContainer, type OuterLab, openOuterLab } from "../lib/outer.js";
import { outerWithFixture } from "../lib/outer-image.js";
import { openRedis } from "../lib/redis-client.js";
import { whenRedisAnswers } from "../lib/redis-load.js";
import { requires } from "../lib/requires.js";
import { suite } from "../lib/suite.js";

const port = 6379;
const name = `redis.${zone}`;
const toldTimeoutMs = 60_000;
const keyPath = "/etc/ums/dns/ums.key";

const test = suite("the name of a service that moves");
let lab: OuterLab;
let bind: Bind;
let receiver: Receiver;
let a: OuterContainer;
let b: OuterContainer;
let client: NameClient | undefined;

test.before(async () => {
  const host = await bridgeAddress();
  bind = await openBind(host);
  receiver = await openReceiver(host);
  lab = await openOuterLab("ums-test-dns");
  const env = {
    UMS_DNS_NAME: name,
    UMS_DNS_SERVER: `${bind.host}:${bind.port}`,
    UMS_DNS_TTL: "1",
    UMS_DNS_TSIG_FILE: keyPath,
    UMS_WEBHOOK_URL: receiver.url,
    // Any file with something secret in it does.
    UMS_WEBHOOK_SECRET_FILE: keyPath,
  };
  const flags = ["-v", `${bind.keyFile}:${keyPath}:ro`];
  const image = await outerWithFixture("redis");
  [a, b] = await Promise.all([
    lab.start("a", { image, env, flags }),
    lab.start("b", { env, flags }),
  ]);
  const redis = await whenRedisAnswers({ host: a.ip, port });
  redis.close();
  await bind.nsupdate(`update add ${name} 1 A ${a.ip}`);
  client = startNameClient();
  await served(a);
});

test.after(async () => {
  await client?.stop();
  await lab?.close();
  await receiver?.close();
  await bind?.close();
});

test("shows B after the move to B", async () => {
  await a.move(b);
  await shown(b);
  await served(b);
  const { addresses, ttlSeconds } = await lookup(name, { server: bind });
  assert.equal({ addresses, ttlSeconds }, { addresses: [b.ip], ttlSeconds: 1 });
  assert.match((await status(b)).explanation, `dns: ${name} shows ${b.ip} instead of ${a.ip}`);
});

test("told the webhook", async () => {
  const { serviceId, migrationId } = await migrationOf(a);
  const call = await poll("the webhook is called", () => receiver.calls[0], {
    timeoutMs: toldTimeoutMs,
  });
  assert.is(call.idempotencyKey, migrationId);
  assert.match(call.signature, /^t=\d+,v1=[0-9a-f]{64}$/);
  const { from, to, endpoint, ports } = call.body;
  assert.equal(
    { from, to, endpoint, ports, serviceId: call.body.serviceId, name: call.body.name },
    {
      ...{ from: a.peerAddress, to: b.peerAddress, endpoint: [b.ip], ports: ["6379/tcp"] },
      ...{ serviceId, name },
    },
  );
});

test("shows A after the move back", async () => {
  await b.move(a);
  await shown(a);
  await served(a);
});

test("the client that knows the name alone was always served", async () => {
  assert.equal(await client?.stop(), []);
});

test("moves although the name server is down, and shows B when that is up again", async () => {
  await bind.stop();
  await a.move(b);
  const waiting = await poll(
    "the failure is told",
    async () => {
      const { explanation } = await status(b);
      return explanation.includes("ERR_DNS_UNREACHABLE") && explanation;
    },
    { timeoutMs: toldTimeoutMs, intervalMs: 500 },
  );
  assert.match(waiting, "the service runs here; dns: not yet");
  assert.match(await metrics(b), 'ums_announce_pending{target="dns"} 1');

  // A supervisor that was restarted in between goes on.
  const supervisor = (await b.exec("pgrep", "-f", "main.js supervise")).stdout
    .trim()
    .split("\n")[0];
  assert.match(supervisor ?? "", /^\d+$/);
  await b.exec("kill", "-KILL", supervisor ?? "");
  await bind.start();
  await shown(b);
  const metric = async () => (await metrics(b)).includes('ums_announce_pending{target="dns"} 0');
  await poll("nothing is pending", metric, { timeoutMs: toldTimeoutMs, intervalMs: 500 });
  const [text] = await bind.dig(markerName(name), "TXT");
  const { serviceId } = await migrationOf(a);
  assert.match(text ?? "", `service=${serviceId}`);
  assert.match(text ?? "", `epoch=4`);
});

test("the key is nowhere the service or a log reader sees it", async () => {
  const secret = bind.key.secret.toString("base64");
  for (const outer of [a, b]) {
    const log = await finish(["docker", "logs", outer.name]);
    const told = await outer.exec("cat", "/var/lib/ums/announced.json");
    assert.match(log.stderr, "new place told");
    assert.not.match(log.stdout + log.stderr + told.stdout, secret);
  }
  assert.is((await b.inService(`ls ${keyPath} 2>/dev/null || echo none`)).trim(), "none");
  assert.not.match(await b.asRoot("env"), "UMS_");
});

async function shown(outer: OuterContainer): Promise<void> {
  const isShown = async () => (await bind.dig(name, "A"))[0] === outer.ip;
  await poll(`${name} shows ${outer.name}`, isShown, {
    timeoutMs: toldTimeoutMs,
    intervalMs: 200,
  });
}

/** The client goes on there, some requests more than it had. */
async function served(outer: OuterContainer): Promise<void> {
  const count = () => client?.answered.get(outer.ip) ?? 0;
  const wanted = count() + 10;
  const isServed = () => count() >= wanted || client?.errors[0] !== undefined;
  await poll(`the client reaches ${outer.name}`, isServed, { timeoutMs: toldTimeoutMs });
  assert.equal(client?.errors, []);
}

/** The supervisor may just be starting again. */
async function status(outer: OuterContainer) {
  return poll(`status of ${outer.name}`, () => outer.status().catch(() => undefined), {
    timeoutMs: toldTimeoutMs,
    intervalMs: 500,
  });
}

async function migrationOf(outer: OuterContainer) {
  const { serviceId, migrationId } = await status(outer);
  return { serviceId, migrationId };
}

async function metrics(outer: OuterContainer): Promise<string> {
  const read = async () => {
    try {
      return await (await fetch(`http://${outer.ip}:9751/metrics`)).text();
    } catch {
      // The supervisor is just starting again.
      return undefined;
    }
  };
  return poll(`metrics of ${outer.name}`, read, { timeoutMs: toldTimeoutMs, intervalMs: 500 });
}

interface NameClient {
  /** Requests by the address that was looked up. */
  answered: Map<string, number>;
  errors: string[];
  /** @returns the errors */
  stop(): Promise<string[]>;
}

/** For each request: look the name up at BIND, connect, increment a counter that must never go back. */
function startNameClient(): NameClient {
  const answered = new Map<string, number>();
  const errors: string[] = [];
  let isEnding = false;
  let last = 0;
  const request = async () => {
    const [host] = await bind.dig(name, "A");
    if (host === undefined) throw new Error("the name shows nothing");
    const redis = await openRedis({ host, port });
    try {
      const value = Number(await redis.call("INCR", "counter"));
      if (value !== last + 1) throw new Error(`${value} after ${last}`);
      last = value;
      answered.set(host, (answered.get(host) ?? 0) + 1);
    } finally {
      redis.close();
    }
  };
  const work = (async () => {
    while (!isEnding) {
      try {
        await request();
      } catch (error) {
        errors.push(String(error));
      }
      await sleep(20);
    }
  })();
  return {
    answered,
    errors,
    async stop() {
      isEnding = true;
      await work;
      return errors;
    },
  };
}

interface Receiver {
  url: string;
  calls: { body: WebhookBody; signature: string; idempotencyKey: string }[];
  close(): Promise<void>;
}

async function openReceiver(host: string): Promise<Receiver> {
  const calls: Receiver["calls"] = [];
  const server: Server = createServer((request, response) => {
    text(request)
      .then((body) => {
        const { "ums-signature": signature, "idempotency-key": key } = request.headers;
        calls.push({
          body: JSON.parse(body) as WebhookBody,
          signature: String(signature),
          idempotencyKey: String(key),
        });
        response.writeHead(204).end();
      })
      .catch((error: unknown) => response.destroy(error as Error));
  });
  server.listen(0, host);
  await once(server, "listening");
  const address = server.address();
  if (address === null || typeof address === "string") throw new TypeError("a TCP port");
  return {
    url: `http://${host}:${address.port}/moved`,
    calls,
    async close() {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
}

if (requires("root", "docker", "named", "dig", "nsupdate")) test.run();
