/** The webhook at a real HTTP server that misbehaves in turn. */
import { createHmac } from "node:crypto";
import { once } from "node:events";
import { createServer, type IncomingHttpHeaders, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";
import * as assert from "uvu/assert";
import { callWebhook, type WebhookBody, type WebhookOptions } from "../../src/webhook/webhook.js";
import { rejectsWith } from "../lib/errors.js";
import { suite } from "../lib/suite.js";

const secret = "a secret of the webhook";
const body: WebhookBody = {
  service: "web",
  serviceId: "service-1",
  migrationId: "0b0f3a52-8d2e-4b6f-9d7e-3f0c6c8f8e11",
  name: "web.svc.example",
  from: "192.0.2.1:9750",
  to: "192.0.2.2:9750",
  endpoint: ["192.0.2.2"],
  ports: ["80/tcp"],
};

interface Call {
  headers: IncomingHttpHeaders;
  body: string;
  method: string | undefined;
}

type Behaviour = (response: ServerResponse) => void;
const status =
  (code: number, headers: Record<string, string> = {}): Behaviour =>
  (response) => {
    response.writeHead(code, headers).end();
  };
const hangUp: Behaviour = (response) => {
  response.destroy();
};

const test = suite("webhook");

test("posts what has moved, signed", async () => {
  const { calls } = await call([status(204)]);
  const [only] = calls;
  assert.is(calls.length, 1);
  assert.is(only?.method, "POST");
  assert.equal(JSON.parse(only?.body ?? ""), body);
  assert.is(only?.headers["content-type"], "application/json");
  assert.is(only?.headers["idempotency-key"], body.migrationId);
  checkSignature(only);
});

test("repeats after failures, with the same key and body and a signature each", async () => {
  const { calls } = await call([status(503), hangUp, status(429), status(200)]);
  assert.is(calls.length, 4);
  assert.is(new Set(calls.map(({ headers }) => headers["idempotency-key"])).size, 1);
  assert.is(new Set(calls.map((each) => each.body)).size, 1);
  for (const each of calls) checkSignature(each);
});

test("gives up after its tries", async () => {
  const { calls, outcome } = await call([status(500)], { retries: 2 });
  const error = await rejectsWith("ERR_WEBHOOK_FAILED", outcome);
  assert.match(error.message, "answered 500");
  assert.is(calls.length, 3);
});

test("does not repeat what the receiver refuses, nor follow it elsewhere", async () => {
  for (const code of [400, 401, 404, 302]) {
    const { calls, outcome } = await call([status(code, { location: "/other" })]);
    const error = await rejectsWith("ERR_WEBHOOK_FAILED", outcome);
    assert.match(error.message, `answered ${code}`);
    assert.is(calls.length, 1);
  }
});

test("does not wait for ever, nor read for ever", async () => {
  const silent = await call([() => undefined], { timeoutMs: 50, retries: 1 });
  await rejectsWith("ERR_WEBHOOK_FAILED", silent.outcome);
  assert.is(silent.calls.length, 2);
  const endless = (response: ServerResponse) => {
    response.writeHead(200);
    const timer = setInterval(() => response.write(Buffer.alloc(64 * 1024)), 1);
    response.on("close", () => clearInterval(timer));
  };
  const { outcome } = await call([endless], { timeoutMs: 5_000, retries: 0 });
  const error = await rejectsWith("ERR_WEBHOOK_FAILED", outcome);
  assert.not.match(error.message, "Timeout");
});

test("ends when it is not wanted any more", async () => {
  const ending = new AbortController();
  const work = call([status(503)], { pauseMs: 60_000, signal: ending.signal });
  setTimeout(() => ending.abort(), 100);
  await rejectsWith("ERR_CANCELLED", (await work).outcome);
});

test("no error tells the secret, the signature or a token in the URL", async () => {
  const { calls, outcome } = await call([status(404)], {}, "?token=private");
  const error = await rejectsWith("ERR_WEBHOOK_FAILED", outcome);
  assert.match(String(calls[0]?.headers["ums-signature"]), "v1=");
  assert.is(error.cause, undefined);
  const shown = JSON.stringify([error.message, error.details, error.hint]);
  for (const word of [secret, "v1=", "private"]) assert.not.match(shown, word);
});

/** Each call is answered by the next behaviour, further ones by the last. */
async function call(
  behaviours: Behaviour[],
  options: Partial<WebhookOptions> = {},
  query = "",
): Promise<{ calls: Call[]; outcome: Promise<void> }> {
  const calls: Call[] = [];
  const server = createServer((request, response) => {
    text(request)
      .then((received) => {
        const behave = behaviours[Math.min(calls.length, behaviours.length - 1)];
        calls.push({ headers: request.headers, body: received, method: request.method });
        behave?.(response);
      })
      .catch((error: unknown) => response.destroy(error as Error));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/moved${query}`;
  const outcome = callWebhook(body, { url, secret, pauseMs: 5, ...options });
  await outcome.catch(() => undefined);
  server.closeAllConnections();
  server.close();
  return { calls, outcome };
}

function checkSignature(each: Call | undefined): void {
  const header = each?.headers["ums-signature"];
  const match = /^t=(\d+),v1=([0-9a-f]{64})$/.exec(typeof header === "string" ? header : "");
  const [, seconds, mac] = match ?? [];
  assert.ok(Math.abs(Number(seconds) - Date.now() / 1000) < 30, `signed at ${seconds}`);
  const expected = createHmac("sha256", secret).update(`${seconds}.${each?.body}`).digest("hex");
  assert.is(mac, expected);
}

test.run();
