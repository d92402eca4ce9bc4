import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { cp, readFile } from "node:fs/promises";
import { connect, createServer, type Socket } from "node:net";
import { join } from "node:path";
import type { Duplex } from "node:stream";
import { connect as connectTls } from "node:tls";
import * as assert from "uvu/assert";
import { UmsError } from "../../src/errors.js";
import { poll, within } from "../../src/lib/deadline.js";
import { openIdentity } from "../../src/peer/identity.js";
import { endWrites, readBytes, readOrEnd } from "../../src/transfer/bytes.js";
import { openDataStream } from "../../src/transfer/client.js";
import type { StreamHeader } from "../../src/transfer/frame.js";
import type { IdentitySource } from "../../src/transfer/security.js";
import { listenData } from "../../src/transfer/server.js";
import { issueOdd, makeAuthority, type TestAuthority } from "../lib/certificates.js";
import { header, listen, wait, withServer } from "../lib/data-channel.js";
import { rejectsWith } from "../lib/errors.js";
import { suite } from "../lib/suite.js";
import { withDirectory } from "../lib/temporary.js";

const test = suite("data channel");

test("a stream carries bytes both ways, and each way ends by itself", async () => {
  await withServer({}, async ({ open, accepted }) => {
    const stream = await open({ expectedPeer: "b" });
    const sent = randomBytes(300_000);
    stream.write(sent);
    await endWrites(stream, wait);
    assert.ok((await readBytes(stream, sent.length, wait)).equals(sent));
    assert.is(await readOrEnd(stream, 1, wait), undefined);
    assert.equal(accepted, [{ header, peer: { role: "peer", name: "a" } }]);
  });
});

test("a server of another authority, or another peer, is not believed", async () => {
  await withServer({}, async ({ directory, authority, open, accepted }) => {
    const stranger = await makeAuthority(join(directory, "stranger"));
    await rejectsWith("ERR_PEER_UNTRUSTED", open({ tls: await stranger.identity("a") }));
    await rejectsWith("ERR_PEER_IDENTITY", open({ expectedPeer: "c" }));
    const operator = await listenData({
      host: "127.0.0.1",
      port: 0,
      tls: await authority.identity("bob", "operator"),
      onStream: () => undefined,
    });
    await rejectsWith("ERR_PEER_IDENTITY", open({ port: operator.port }));
    await operator.close();
    assert.equal(accepted, []);
  });
});

/** An identity that trusts the server but presents something else. */
function presenting(trusted: IdentitySource, presented: { cert: string; key: string }) {
  const { cert, key } = presented;
  return () => ({ ...trusted(), cert, key });
}

test("a client of another authority, expired, without a name or an operator is refused", async () => {
  await withServer({}, async ({ directory, authority, open, accepted, failures }) => {
    const good = await authority.identity("good");
    const stranger = await makeAuthority(join(directory, "stranger"));
    const foreign = presenting(good, (await stranger.identity("a"))());
    const refused = await rejectsWith("ERR_PEER_UNTRUSTED", open({ tls: foreign }));
    assert.is(refused.details["refusedByPeer"], true, refused.message);

    const now = Date.now();
    const expired = await odd(authority, join(directory, "expired"), {
      uris: ["ums://peer/a"],
      notAfter: new Date(now - 1_000),
    });
    const late = await rejectsWith("ERR_PEER_UNTRUSTED", open({ tls: presenting(good, expired) }));
    assert.match(late.message, "EXPIRED");

    const nameless = await odd(authority, join(directory, "nameless"), {
      uris: [],
      notAfter: new Date(now + 60_000),
    });
    await rejectsWith("ERR_PEER_IDENTITY", open({ tls: presenting(good, nameless) }));

    const operator = await authority.identity("bob", "operator");
    await rejectsWith("ERR_PEER_IDENTITY", open({ tls: operator }));
    assert.equal(accepted, []);
    assert.is(failures.length, 4);
  });
});

async function odd(
  authority: TestAuthority,
  out: string,
  { uris, notAfter }: { uris: string[]; notAfter: Date },
): Promise<{ cert: string; key: string }> {
  const notBefore = new Date(Date.now() - 3_600_000);
  await issueOdd(authority, out, { uris, notBefore, notAfter });
  return {
    cert: await readFile(join(out, "tls.crt"), "utf8"),
    key: await readFile(join(out, "tls.key"), "utf8"),
  };
}

test("a client without a certificate, or with TLS 1.2, is refused", async () => {
  await withServer({}, async ({ authority, server, failures, accepted }) => {
    const { ca } = (await authority.identity("client"))();
    const options = {
      host: "127.0.0.1",
      port: server.port,
      ca,
      checkServerIdentity: () => undefined,
    };
    const anonymous = connectTls(options);
    const answer = await readToEnd(anonymous);
    assert.match(answer, "ERR_PEER_UNTRUSTED");
    const old = connectTls({ ...options, maxVersion: "TLSv1.2" });
    const [error] = (await within(5_000, "the refusal", once(old, "error"))) as [Error];
    assert.match(error.message, /version/i);
    await poll("both reported", () => failures.length === 2, { timeoutMs: 5_000 });
    assert.equal(accepted, []);
  });
});

test("a header too large, malformed or late is refused with its code", async () => {
  await withServer({ limits: { headerTimeoutMs: 200 } }, async ({ authority, server }) => {
    const a = await authority.identity("raw");
    const raw = (bytes: Buffer | string, everyMs?: number) => {
      const socket = connectTls({
        host: "127.0.0.1",
        port: server.port,
        ...a(),
        checkServerIdentity: () => undefined,
      });
      socket.write(bytes);
      if (everyMs === undefined) return readToEnd(socket);
      const trickle = setInterval(() => socket.write("M"), everyMs);
      return readToEnd(socket).finally(() => clearInterval(trickle));
    };
    assert.match(await raw(Buffer.from("UMS1\0\x10\0\0")), "ERR_FRAME_INVALID");
    assert.match(await raw("GET / HTTP/1.1\r\n\r\n"), "ERR_FRAME_INVALID");
    assert.match(await raw("UMS1\0\0\x0f\xff", 20), "ERR_DEADLINE");
    assert.match(await raw("U"), "ERR_DEADLINE");
  });
});

test("a connection that never speaks TLS is dropped", async () => {
  await withServer({ limits: { headerTimeoutMs: 200 } }, async ({ server, open, failures }) => {
    const mute = connect(server.port, "127.0.0.1");
    mute.on("error", () => undefined);
    mute.resume();
    await within(5_000, "the drop", once(mute, "close"));
    assert.is(failures.length, 1);
    await open();
  });
});

test("limits per peer and in all hold, and places become free again", async () => {
  const limits = { maxStreams: 3, maxStreamsPerPeer: 2 };
  await withServer({ limits }, async ({ authority, open }) => {
    const first = await open();
    await open();
    await rejectsWith("ERR_NO_ROOM", open());
    const c = await authority.identity("c");
    await open({ tls: c });
    await rejectsWith("ERR_NO_ROOM", open({ tls: c }));
    first.destroy();
    const again = async () => open().catch(() => undefined);
    await poll("a free place", again, { timeoutMs: 5_000 });
  });
});

test("the server's owner can refuse, with a code", async () => {
  const authorize = ({ migrationId }: StreamHeader) => {
    throw new UmsError("ERR_MIGRATION_NOT_FOUND", `no migration ${migrationId}`);
  };
  await withServer({ authorize }, async ({ open, accepted }) => {
    const error = await rejectsWith("ERR_MIGRATION_NOT_FOUND", open());
    assert.is(error.message, "no migration m-1");
    assert.equal(accepted, []);
  });
});

test("a handler that fails ends its stream and no other", async () => {
  let calls = 0;
  const onStream = (_header: StreamHeader, stream: Duplex) => {
    calls += 1;
    if (calls === 1) throw new UmsError("ERR_INTERNAL", "handler failed");
    stream.pipe(stream);
  };
  await withServer({ onStream }, async ({ open, failures }) => {
    const broken = await open();
    await rejectsWith("ERR_TRANSFER_SHORT", readBytes(broken, 1, wait));
    assert.is(failures[0]?.message, "handler failed");
    const good = await open();
    good.write("x");
    assert.is((await readBytes(good, 1, wait)).toString(), "x");
  });
});

test("an idle stream is closed", async () => {
  await withServer({ limits: { idleTimeoutMs: 100 } }, async ({ open }) => {
    const stream = await open();
    await rejectsWith("ERR_TRANSFER_SHORT", readBytes(stream, 1, wait));
  });
});

test("cancelling works before, while and after opening", async () => {
  await withServer({}, async ({ open }) => {
    await rejectsWith("ERR_CANCELLED", open({ signal: AbortSignal.abort() }));
    const controller = new AbortController();
    const stream = await open({ signal: controller.signal });
    controller.abort();
    await rejectsWith("ERR_CANCELLED", readBytes(stream, 1, wait));
  });
});

test("nobody there is unreachable, somebody mute is late, something else is not trusted", async () => {
  await withServer({}, async ({ open }) => {
    const sockets: Socket[] = [];
    const other = createServer((socket) => sockets.push(socket.on("error", () => undefined)));
    const port = await listen(other);
    await rejectsWith("ERR_DEADLINE", open({ port, timeoutMs: 100 }));
    const cancelled = open({ port, signal: AbortSignal.timeout(100) });
    await rejectsWith("ERR_CANCELLED", cancelled);
    other.once("connection", (socket: Socket) => socket.end("220 mail.example ESMTP\r\n"));
    await rejectsWith("ERR_PEER_UNTRUSTED", open({ port }));
    other.once("connection", (socket: Socket) => socket.destroy());
    await rejectsWith("ERR_PEER_UNREACHABLE", open({ port }));
    for (const socket of sockets) socket.destroy();
    other.close();
    await once(other, "close");
    await rejectsWith("ERR_PEER_UNREACHABLE", open({ port }));
  });
});

test("a renewed certificate is used for the next connection", async () => {
  await withDirectory(async (directory) => {
    const authority = await makeAuthority(directory);
    const path = await authority.issue("b");
    const store = openIdentity(path);
    await withServer({ tls: store.current }, async ({ server }) => {
      const tls = await authority.identity("a");
      const options = { host: "127.0.0.1", port: server.port, tls, header };
      (await openDataStream({ ...options, expectedPeer: "b" })).destroy();
      const renewed = await authority.issue("b2");
      await cp(renewed, path, { recursive: true });
      await rejectsWith("ERR_PEER_IDENTITY", openDataStream({ ...options, expectedPeer: "b" }));
      (await openDataStream({ ...options, expectedPeer: "b2" })).destroy();
    });
  });
});

test("a session cannot be resumed", async () => {
  await withServer({}, async ({ authority, server, failures }) => {
    const identity = (await authority.identity("client"))();
    const options = { host: "127.0.0.1", port: server.port, ...identity };
    const checkServerIdentity = () => undefined;
    const first = connectTls({ ...options, checkServerIdentity });
    first.write("UMS1");
    const session = await Promise.race([
      once(first, "session").then(([bytes]) => bytes as Buffer),
      within(500, "a session", new Promise<never>(() => undefined)).catch(() => undefined),
    ]);
    first.destroy();
    // Offered or not, it is of no use.
    const second = connectTls({ ...options, checkServerIdentity, ...(session && { session }) });
    await within(5_000, "connecting", once(second, "secureConnect"));
    const wasRefused = second.isSessionReused();
    const answer = wasRefused ? await readToEnd(second) : "";
    second.destroy();
    assert.is(wasRefused, answer.includes("ERR_PEER_UNTRUSTED"), String(failures.at(-1)));
  });
});

async function readToEnd(stream: Duplex): Promise<string> {
  const parts: Buffer[] = [];
  stream.on("error", () => undefined);
  stream.on("data", (part: Buffer) => parts.push(part));
  await within(5_000, "the end of the stream", once(stream, "close"));
  return Buffer.concat(parts).toString("latin1");
}

test.run();
