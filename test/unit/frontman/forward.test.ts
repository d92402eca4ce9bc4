/** Connections that are held and passed on, over real sockets. */
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { Agent, createServer as createHttpServer, request } from "node:http";
import type { Socket } from "node:net";
import * as assert from "uvu/assert";
import { dial } from "../../../src/frontman/forward.js";
import { poll, sleep } from "../../../src/lib/deadline.js";
import {
  dialTo,
  hear,
  host,
  portOf,
  say,
  servicePort,
  soon,
  withFront,
  withServer,
} from "../../lib/front.js";
import { suite } from "../../lib/suite.js";

const test = suite("frontman: hold and forward");

/** Says who it is at the end of the client's half, after what the client said. */
const echo = (name: string) => (socket: Socket) => {
  socket.pipe(socket, { end: false });
  socket.on("end", () => socket.end(`|${name}`));
};

test("passes on to where the service is, from then on to where it went", async () => {
  await withServer(echo("old"), (old) =>
    withServer(echo("new"), (fresh) =>
      withFront("forward", async ({ port, appear }) => {
        appear("here", old);
        assert.is(await say(port, "a"), "a|old");
        appear("elsewhere", fresh);
        assert.is(await say(port, "b"), "b|new");
      }),
    ),
  );
});

test("holds new connections while the service moves, and loses no byte of them", async () => {
  const sent = randomBytes(3 * 1024 ** 2).toString("base64");
  await withServer(echo("new"), (server) =>
    withFront("hold", async ({ frontman, port, appear }) => {
      const silent = say(port, "");
      const early = say(port, "early");
      const large = say(port, sent);
      await poll("three are held", () => frontman.stats().held === 3, { timeoutMs: 5_000 });
      await sleep(50);
      appear("elsewhere", server);
      assert.is(await silent, "|new");
      assert.is(await early, "early|new");
      const heard = await large;
      assert.ok(heard === `${sent}|new`, "the bytes are the same");
      assert.is(frontman.stats().held, 0);
    }),
  );
});

test("a server may speak first, and each side may close its half first", async () => {
  const banner = (socket: Socket) => {
    socket.end("banner");
    socket.on("data", (chunk) => heard.push(chunk));
  };
  const heard: Buffer[] = [];
  await withServer(banner, (server) =>
    withFront("hold", async ({ port, appear }) => {
      const socket = await dialTo(port);
      appear("here", server);
      assert.is((await hear(socket)).toString(), "banner");
      socket.end("late words");
      await poll("the words", () => Buffer.concat(heard).toString() === "late words", {
        timeoutMs: 5_000,
      });
    }),
  );
});

test("refuses beyond its bounds: connections, bytes, time", async () => {
  const limits = { maxHeld: 2, holdTimeoutMs: 2_000 };
  const front = (use: Parameters<typeof withFront>[1], more = {}) =>
    withFront("hold", use, { limits: { ...limits, ...more } });
  await front(async ({ frontman, port }) => {
    const startedMs = performance.now();
    const [first, second] = [say(port, "1"), say(port, "2")];
    const ends = Promise.allSettled([first, second]);
    await poll("two are held", () => frontman.stats().held === 2, { timeoutMs: 5_000 });
    await rejects(say(port, "3"), "ECONNRESET");
    assert.is(frontman.stats().held, 2, "refused at once");
    for (const { status } of await ends) assert.is(status, "rejected");
    assert.ok(performance.now() - startedMs >= limits.holdTimeoutMs, "held for the whole time");
    assert.is(frontman.stats().actions.refuse, 3);
  });
  await front(
    async ({ frontman, port }) => {
      const socket = await dialTo(port);
      socket.on("error", () => undefined);
      socket.write(Buffer.alloc(4096));
      await poll("one is held", () => frontman.stats().held === 1, { timeoutMs: 5_000 });
      await sleep(50);
      await rejects(say(port, "no room"), "ECONNRESET");
    },
    { maxHeldBytes: 4096 },
  );
});

test("a waiting client takes little memory of the Frontman, however much it sends", async () => {
  await withServer(echo("new"), (server) =>
    withFront("hold", async ({ frontman, port, appear }) => {
      const socket = await dialTo(port);
      const total = 24 * 1024 ** 2;
      socket.end(Buffer.alloc(total, 1));
      await poll("it is held", () => frontman.stats().held === 1, { timeoutMs: 5_000 });
      await sleep(200);
      // The rest is in the kernel's buffers and at the client.
      assert.ok(socket.writableLength > total / 2, `${socket.writableLength} bytes not taken`);
      appear("elsewhere", server);
      assert.is((await hear(socket)).length, total + "|new".length);
    }),
  );
});

test("a client that leaves while it waits is forgotten", async () => {
  await withFront("hold", async ({ frontman, port }) => {
    const socket = await dialTo(port);
    await poll("it is held", () => frontman.stats().held === 1, { timeoutMs: 5_000 });
    socket.resetAndDestroy();
    await poll("it is gone", () => frontman.stats().held === 0, { timeoutMs: 5_000 });
  });
});

test("a service that does not listen yet is tried again, in vain for a bounded time", async () => {
  let port = 0;
  await withServer(echo("new"), async (server) => {
    port = portOf(server);
  });
  await withFront("hold", async (front) => {
    front.appear("elsewhere", port);
    const answer = say(front.port, "patient");
    await sleep(200);
    const late = createHttpServer();
    late.on("connection", (socket) => socket.end("there"));
    late.listen(port, host);
    assert.is(await answer, "there");
    late.close();
  });
  const limits = { connectTimeoutMs: 200 };
  await withFront(
    "hold",
    async (front) => {
      front.appear("elsewhere", port);
      await rejects(say(front.port, "in vain"), "ECONNRESET");
    },
    { limits },
  );
});

test("a connection that got stuck because the service began to move goes to the new place", async () => {
  await withServer(echo("new"), async (server) => {
    const knocks: number[] = [];
    const connect: typeof dial = async (target, timeoutMs) => {
      knocks.push(target.port);
      if (target.port === portOf(server)) return dial(target, timeoutMs);
      // As a request for a connection that is held there.
      await sleep(timeoutMs);
      throw new Error("no answer");
    };
    const limits = { connectTimeoutMs: 200 };
    await withFront(
      "hold",
      async ({ port, where, appear }) => {
        appear("here", 9);
        const answer = say(port, "stuck");
        await poll("it knocks", () => knocks.length === 1, { timeoutMs: 5_000 });
        where.set({ state: "moving" });
        await sleep(2 * limits.connectTimeoutMs);
        appear("elsewhere", server);
        assert.is(await answer, "stuck|new");
        assert.equal(knocks, [9, portOf(server)]);
      },
      { connect, limits },
    );
  });
});

test("a connection that the service breaks is broken for the client", async () => {
  await withServer(
    (socket) => socket.once("data", () => socket.resetAndDestroy()),
    (server) =>
      withFront("forward", async ({ port, appear }) => {
        appear("here", server);
        await rejects(say(port, "x"), "ECONNRESET");
      }),
  );
});

test("keep-alive: many requests go over one connection", async () => {
  let connections = 0;
  const server = createHttpServer((incoming, response) => {
    response.end(`${incoming.method} ${incoming.url}`);
  });
  server.on("connection", () => {
    connections += 1;
  });
  server.listen(0, host);
  await once(server, "listening");
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  await withFront("hold", async ({ port, appear }) => {
    setTimeout(() => appear("here", portOf(server)), 50);
    for (const method of ["GET", "PUT", "PATCH", "DELETE", "OPTIONS"]) {
      const sending = request({ host, port, agent, method, path: "/a?b=c" });
      sending.end();
      const [response] = await soon("an answer", once(sending, "response"));
      let text = "";
      for await (const chunk of response) text += chunk;
      assert.is(text, `${method} /a?b=c`);
    }
  });
  assert.is(connections, 1);
  agent.destroy();
  server.close();
});

test("PROXY protocol: a server that parses version 2 sees the client's own address", async () => {
  const seen: { address: string; port: number; rest: string }[] = [];
  const parse = (socket: Socket) => {
    socket.once("data", (bytes: Buffer) => {
      assert.is(bytes.toString("hex", 0, 14), "0d0a0d0a000d0a515549540a2111");
      const length = bytes.readUInt16BE(14);
      seen.push({
        address: [...bytes.subarray(16, 20)].join("."),
        port: bytes.readUInt16BE(24),
        rest: bytes.toString("utf8", 16 + length),
      });
      socket.end("ok");
    });
  };
  await withServer(parse, (server) =>
    withFront(
      "forward",
      async ({ frontman, port, appear }) => {
        const socket = await dialTo(port);
        const ownPort = socket.localPort ?? 0;
        socket.write("hello");
        await poll("it is held", () => frontman.stats().held === 1, { timeoutMs: 5_000 });
        await sleep(20);
        appear("elsewhere", server);
        assert.is((await hear(socket)).toString(), "ok");
        // The header may come in a segment of its own; what follows is looked at if it did not.
        const [first] = seen;
        assert.is(first?.address, host);
        assert.is(first?.port, ownPort);
        assert.ok(["", "hello"].includes(first?.rest ?? "-"));
      },
      { proxyProtocol: "v2" },
    ),
  );
});

test("the port that stands for the service's may be mapped at the new endpoint", async () => {
  await withServer(echo("mapped"), (server) =>
    withFront("forward", async ({ port, where }) => {
      where.set({
        state: "elsewhere",
        endpoint: { host, ports: { [servicePort]: portOf(server) } },
      });
      assert.is(await say(port, ""), "|mapped");
    }),
  );
});

async function rejects(work: Promise<unknown>, code: string): Promise<void> {
  try {
    await work;
  } catch (error) {
    assert.is((error as NodeJS.ErrnoException).code, code, String(error));
    return;
  }
  assert.unreachable(`expected ${code}`);
}

test.run();
