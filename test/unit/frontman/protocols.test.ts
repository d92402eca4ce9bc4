/** WebSocket and gRPC pass through a Frontman, and wait in it while the service moves. */
import { once } from "node:events";
import {
  Client,
  credentials,
  Server as GrpcServer,
  ServerCredentials,
  type ServiceDefinition,
  status,
} from "@grpc/grpc-js";
import * as assert from "uvu/assert";
import { WebSocket, WebSocketServer } from "ws";
import { poll } from "../../../src/lib/deadline.js";
import { host, soon, withFront } from "../../lib/front.js";
import { suite } from "../../lib/suite.js";

const test = suite("frontman: WebSocket and gRPC");
const messages = 200;

const asIs = (bytes: Buffer) => bytes;
const method = {
  path: "/test.Echo/Talk",
  requestStream: true,
  responseStream: true,
  requestSerialize: asIs,
  requestDeserialize: asIs,
  responseSerialize: asIs,
  responseDeserialize: asIs,
};
const echoService: ServiceDefinition = { talk: method };

for (const mode of ["hold", "forward"] as const) {
  test(`WebSocket: begun during the move, echoes afterwards (${mode})`, async () => {
    const server = new WebSocketServer({ host, port: 0 });
    server.on("connection", (socket) => socket.on("message", (data) => socket.send(data)));
    await once(server, "listening");
    await withFront(mode, async ({ frontman, port, appear }) => {
      const client = new WebSocket(`ws://${host}:${port}/chat?room=1`);
      await poll("it waits", () => frontman.stats().held === 1, { timeoutMs: 5_000 });
      appear("elsewhere", (server.address() as { port: number }).port);
      await soon("the upgrade", once(client, "open"));
      for (let index = 0; index < messages; index += 1) {
        const text = `message ${index} ${"x".repeat(index * 100)}`;
        client.send(text);
        const [echo] = await soon("the echo", once(client, "message"));
        assert.is(String(echo), text);
      }
      client.close(1000, "done");
      const [code] = await soon("the closing handshake", once(client, "close"));
      assert.is(code, 1000);
    });
    server.close();
  });

  test(`gRPC: a stream begun during the move carries messages both ways (${mode})`, async () => {
    const server = new GrpcServer();
    server.addService(echoService, {
      talk: (call: NodeJS.ReadWriteStream) => {
        call.on("data", (message) => call.write(message));
        call.on("end", () => call.end());
      },
    });
    const grpcPort = await new Promise<number>((resolve, reject) => {
      server.bindAsync(`${host}:0`, ServerCredentials.createInsecure(), (error, bound) =>
        error === null ? resolve(bound) : reject(error),
      );
    });
    await withFront(mode, async ({ frontman, port, appear }) => {
      const client = new Client(`${host}:${port}`, credentials.createInsecure());
      const call = client.makeBidiStreamRequest(method.path, asIs, asIs);
      call.write(Buffer.from("0"));
      await poll("it waits", () => frontman.stats().held === 1, { timeoutMs: 5_000 });
      appear("elsewhere", grpcPort);
      for (let index = 1; index <= messages; index += 1) {
        const [echo] = await soon("the echo", once(call, "data"));
        assert.is(String(echo), String(index - 1));
        call.write(Buffer.from(String(index)));
      }
      call.end();
      call.resume();
      const [ended] = await soon("the status", once(call, "status"));
      assert.is(ended.code, status.OK);
      client.close();
    });
    server.forceShutdown();
  });
}

test("gRPC: retry mode is UNAVAILABLE, so that clients try again by themselves", async () => {
  await withFront("retry", async ({ port }) => {
    const client = new Client(`${host}:${port}`, credentials.createInsecure());
    const call = client.makeBidiStreamRequest(method.path, asIs, asIs);
    call.resume();
    const [error] = await soon("the status", once(call, "error"));
    assert.is(error.code, status.UNAVAILABLE);
    assert.match(error.details, /being moved/);
    client.close();
  });
});

test.run();
