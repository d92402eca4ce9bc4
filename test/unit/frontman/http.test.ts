/** HTTP answers for a service that is away: retry, redirect, probes; HTTP/1, HTTP/2 and gRPC. */
import { once } from "node:events";
import { Agent, createServer, type IncomingMessage, type RequestOptions, request } from "node:http";
import { connect as connectHttp2 } from "node:http2";
import * as assert from "uvu/assert";
import { poll } from "../../../src/lib/deadline.js";
import {
  dialTo,
  type Front,
  hear,
  host,
  portOf,
  say,
  soon,
  withFront,
  withServer,
} from "../../lib/front.js";
import { suite } from "../../lib/suite.js";

const test = suite("frontman: HTTP answers");
const nowhere = 9;
const probes = { liveness: ["/livez"], readiness: ["/readyz", "/health/ready"] };

interface Response {
  status: number;
  headers: IncomingMessage["headers"];
  body: string;
}

async function send(port: number, options: RequestOptions, body?: string): Promise<Response> {
  const sending = request({ host, port, ...options });
  sending.end(body);
  const [response] = (await soon("an answer", once(sending, "response"))) as [IncomingMessage];
  let text = "";
  for await (const chunk of response) text += chunk;
  return { status: response.statusCode ?? 0, headers: response.headers, body: text };
}

async function withService(use: (port: number) => Promise<void>): Promise<void> {
  const server = createServer(async (incoming, response) => {
    let body = "";
    for await (const chunk of incoming) body += chunk;
    response.end(`${incoming.method} ${incoming.url} ${incoming.headers.host} ${body}`);
  });
  server.listen(0, host);
  await once(server, "listening");
  try {
    await use(portOf(server));
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

test("retry: 503 with Retry-After while the service moves, whatever the method", async () => {
  await withService((service) =>
    withFront(
      "retry",
      async ({ frontman, port, appear }) => {
        for (const method of ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"]) {
          const body = ["POST", "PUT", "PATCH"].includes(method) ? "x".repeat(100_000) : undefined;
          const { status, headers } = await send(port, { method, path: "/a?b" }, body);
          assert.is(status, 503, method);
          assert.is(headers["retry-after"], "7");
          assert.is(headers["cache-control"], "no-store");
          assert.is(headers.connection, "close");
        }
        assert.is(frontman.stats().held, 0);
        assert.is(frontman.stats().actions.retry, 7);
        appear("elsewhere", service);
        const { status, body } = await send(port, { path: "/a?b", headers: { host: "svc" } });
        assert.is(status, 200);
        assert.is(body, "GET /a?b svc ");
      },
      { limits: { retryAfterSeconds: 7 } },
    ),
  );
});

test("redirect: whoever came during the move is sent on with 307, later ones with 308", async () => {
  await withFront("redirect", async ({ frontman, port, appear }) => {
    const waiting = send(port, { method: "POST", path: "/a%20b?c=/d&e=%2F" }, "body");
    await poll("it waits", () => frontman.stats().held === 1, { timeoutMs: 5_000 });
    appear("elsewhere", nowhere);
    const during = await waiting;
    assert.is(during.status, 307);
    assert.is(during.headers.location, `http://${host}:${nowhere}/a%20b?c=/d&e=%2F`);
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    for (const method of ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH"]) {
      const path = `/${method}?x=1`;
      const sent = await send(port, { method, path, agent }, method === "PUT" ? "body" : undefined);
      assert.is(sent.status, 308, method);
      assert.is(sent.headers.location, `http://${host}:${nowhere}${path}`);
      assert.is(sent.headers["cache-control"], "no-store");
      assert.is(sent.headers.connection, "keep-alive");
    }
    agent.destroy();
  });
});

test("redirect: fetch follows with method and body and lands at the service", async () => {
  await withService((service) =>
    withFront("redirect", async ({ frontman, port, appear }) => {
      const landed = fetch(`http://${host}:${port}/p?q`, { method: "POST", body: "kept" });
      await poll("it waits", () => frontman.stats().held === 1, { timeoutMs: 5_000 });
      appear("elsewhere", service);
      const response = await landed;
      assert.is(response.url, `http://${host}:${service}/p?q`);
      assert.is(await response.text(), `POST /p?q ${host}:${service} kept`);
    }),
  );
});

test("redirect: a move that failed passes the waiting request on to the service here", async () => {
  await withService((service) =>
    withFront("redirect", async ({ frontman, port, appear }) => {
      const waiting = send(port, { method: "POST", path: "/", headers: { host: "svc" } }, "body");
      await poll("it waits", () => frontman.stats().held === 1, { timeoutMs: 5_000 });
      appear("here", service);
      assert.is((await waiting).body, "POST / svc body");
    }),
  );
});

test("redirect: a kept connection is not redirected once the service is home again", async () => {
  await withService((service) =>
    withFront("redirect", async ({ port, appear }) => {
      const agent = new Agent({ keepAlive: true, maxSockets: 1 });
      appear("elsewhere", nowhere);
      assert.is((await send(port, { path: "/", agent })).status, 308);
      appear("here", service);
      const { status, headers } = await send(port, { path: "/", agent });
      assert.is(status, 503);
      assert.is(headers.connection, "close");
      assert.is((await send(port, { path: "/", agent })).status, 200);
      agent.destroy();
    }),
  );
});

test("redirect: what speaks no HTTP is passed on", async () => {
  const echo = (socket: import("node:net").Socket) => socket.pipe(socket);
  await withServer(echo, (server) =>
    withFront("redirect", async ({ port, appear }) => {
      appear("elsewhere", server);
      assert.is(await say(port, "*1\r\n$4\r\nPING\r\n"), "*1\r\n$4\r\nPING\r\n");
    }),
  );
});

test("when the wait is over its deadline or its room, HTTP clients are told so", async () => {
  const limits = { holdTimeoutMs: 100 };
  await withFront(
    "redirect",
    async ({ port }) => {
      const { status, headers } = await send(port, { path: "/" });
      assert.is(status, 503);
      assert.is(headers["retry-after"], "1");
    },
    { limits },
  );
  await withFront(
    "redirect",
    async ({ port }) => assert.is((await send(port, { path: "/" })).status, 503),
    { limits: { maxHeld: 0 } },
  );
});

test("probes are answered while the service moves, in every mode, and passed on otherwise", async () => {
  await withService(async (service) => {
    for (const mode of ["hold", "forward", "retry", "redirect"] as const) {
      await withFront(
        mode,
        async ({ port, appear }) => {
          const status = async (path: string) => (await send(port, { path })).status;
          assert.is(await status("/livez"), 200, mode);
          assert.is(await status("/livez?verbose"), 200, mode);
          assert.is(await status("/readyz"), 503, mode);
          assert.is(await status("/health/ready"), 503, mode);
          appear("here", service);
          const passed = await send(port, { path: "/livez", headers: { host: "svc" } });
          assert.is(passed.body, "GET /livez svc ", mode);
        },
        { probes },
      );
    }
  });
});

test("probes: other requests of a held port wait for the service", async () => {
  await withService((service) =>
    withFront(
      "hold",
      async ({ frontman, port, appear }) => {
        const waiting = send(port, { path: "/livez/not", headers: { host: "svc" } });
        await poll("it waits", () => frontman.stats().held === 1, { timeoutMs: 5_000 });
        appear("elsewhere", service);
        assert.is((await waiting).body, "GET /livez/not svc ");
      },
      { probes },
    ),
  );
});

test("a request that comes in single bytes is understood; an absolute one too", async () => {
  await withFront("redirect", async ({ port, appear }) => {
    appear("elsewhere", nowhere);
    const socket = await dialTo(port);
    socket.setNoDelay(true);
    const text = "GET http://old/p?q HTTP/1.1\r\nHost: old\r\nConnection: close\r\n\r\n";
    for (const character of text) {
      socket.write(character);
      await new Promise((resolve) => setImmediate(resolve));
    }
    const answer = (await hear(socket)).toString();
    assert.match(answer, /^HTTP\/1\.1 308 /);
    assert.match(answer, new RegExp(`\r\nLocation: http://${host}:${nowhere}/p\\?q\r\n`));
  });
});

test("Expect: 100-continue is answered without asking for the body", async () => {
  await withFront("retry", async ({ port }) => {
    const socket = await dialTo(port);
    socket.write("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 99\r\nExpect: 100-continue\r\n\r\n");
    assert.match((await hear(socket)).toString(), /^HTTP\/1\.1 503 /);
  });
});

test("HTTP/2 with prior knowledge: 503, and UNAVAILABLE for gRPC, in retry mode", async () => {
  await withFront("retry", async (front) => {
    const plain = await http2(front, { ":path": "/" });
    assert.is(plain[":status"], 503);
    assert.is(plain["retry-after"], "1");
    const grpc = await http2(front, {
      ":path": "/a.B/C",
      ":method": "POST",
      "content-type": "application/grpc+proto",
      te: "trailers",
    });
    assert.is(grpc[":status"], 200);
    assert.is(grpc["grpc-status"], "14");
  });
});

async function http2({ port }: Front, headers: Record<string, string>) {
  const session = connectHttp2(`http://${host}:${port}`);
  try {
    const stream = session.request(headers, { endStream: true });
    const [answer] = await soon("an HTTP/2 answer", once(stream, "response"));
    stream.resume();
    await soon("its end", once(stream, "end"));
    return answer as Record<string, string | number>;
  } finally {
    session.close();
  }
}

test.run();
