/** Every call of the network's gRPC server with a certificate of every role. */
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Client, credentials, type ServiceError } from "@grpc/grpc-js";
import { service as healthService } from "grpc-health-check";
import * as assert from "uvu/assert";
import { UmsError } from "../../src/errors.js";
import { MigrationService } from "../../src/gen/ums/migration/v1/migration.js";
import { PeerService, ReserveRequest } from "../../src/gen/ums/migration/v1/peer.js";
import { authenticateBy } from "../../src/grpc/identity.js";
import { createPeerService } from "../../src/grpc/peer-service.js";
import { callers } from "../../src/grpc/roles.js";
import { type GrpcServer, listenNetwork } from "../../src/grpc/server.js";
import { within } from "../../src/lib/deadline.js";
import type { DestinationRunner } from "../../src/migration/destination-role.js";
import { openIdentity } from "../../src/peer/identity.js";
import type { PeerRole } from "../../src/transfer/security.js";
import { makeAuthority, type TestAuthority } from "../lib/certificates.js";
import { suite } from "../lib/suite.js";

const test = suite("roles on the network");

const callTimeoutMs = 10_000;
const [ok, notFound, permissionDenied, resourceExhausted, unimplemented, unavailable] = [
  0, 5, 7, 8, 12, 14,
];

/** What each role may call; everything else must be refused. */
const table: Record<PeerRole, RegExp> = {
  peer: /v1\.Peer\//,
  operator: /v1\.Migration\/|Health\/(Check|Watch)$/,
  observer: /v1\.Migration\/GetStatus$|Health\/(Check|Watch)$/,
};

interface Method {
  path: string;
  responseStream: boolean;
}

const methods: Method[] = [MigrationService, PeerService, healthService].flatMap((definition) =>
  Object.values(definition as unknown as Record<string, Method>),
);

let port: number;
let directory: string;
let authority: TestAuthority;
let server: GrpcServer;
const clients = new Map<string, Client>();

test.before(async () => {
  directory = await mkdtemp(join(tmpdir(), "ums-test-roles-"));
  port = await freePort();
  authority = await makeAuthority(directory);
  const store = openIdentity(await authority.issue("b"));
  const authenticate = authenticateBy(store);
  const destination = {
    reserve: () => Promise.reject(new UmsError("ERR_SERVICE_NOT_FOUND", "reached")),
    checkSource: () => {
      throw new UmsError("ERR_SERVICE_NOT_FOUND", "reached");
    },
    state: { phase: "PASSIVE" },
  } as unknown as DestinationRunner;
  server = await listenNetwork(
    { host: "127.0.0.1", port },
    store.current(),
    {
      migration: everyCall(MigrationService) as never,
      peer: createPeerService({
        authenticate,
        destination,
        departure: () => undefined,
        dataPort: 1,
        resetFlows: async () => 0,
        publicEndpoint: "",
        arrival: () => undefined,
      }),
    },
    { authenticate, isOperatorAllowed: (name) => name !== "mate" },
  );
  for (const role of Object.keys(table)) clients.set(role, await connect(role as PeerRole, "x"));
});

test.after(async () => {
  for (const client of clients.values()) client.close();
  await server?.close();
  await rm(directory, { recursive: true, force: true });
});

for (const [role, allowed] of Object.entries(table)) {
  test(`${role}: may call what the table says, and nothing else`, async () => {
    for (const method of methods) {
      const { code, errorCode } = await call(role, method);
      const isReached = allowed.test(method.path);
      assert.is(code === permissionDenied, !isReached, `${method.path}: ${code}`);
      if (!isReached) assert.is(errorCode, "ERR_PEER_IDENTITY", method.path);
      else assert.ok([ok, notFound, 3].includes(code), `${method.path}: ${code}`);
    }
  });
}

test("no call of our services is missing in the server's own table", () => {
  const ours = methods.map(({ path }) => path).filter((path) => !path.endsWith("Health/List"));
  assert.equal(Object.keys(callers).sort(), ours.sort());
});

test("an operator who is not on the list may call nothing", async () => {
  clients.set("mate", await connect("operator", "mate"));
  for (const method of methods.filter(({ path }) => table.operator.test(path))) {
    const { code, errorCode } = await call("mate", method);
    assert.is(code, permissionDenied, method.path);
    assert.is(errorCode, "ERR_NOT_ALLOWED", method.path);
  }
});

test("a call that does not exist is not there for anybody", async () => {
  for (const role of Object.keys(table)) {
    const missing = { path: "/ums.migration.v1.Migration/Destroy", responseStream: false };
    assert.is((await call(role, missing)).code, unimplemented);
  }
});

test("who shows no certificate, or one of another authority, is not connected", async () => {
  const { ca } = (await authority.identity("q"))();
  const options = { "grpc.ssl_target_name_override": "ums-peer" };
  const check = { checkServerIdentity: () => undefined };
  const bare = credentials.createSsl(Buffer.from(ca), null, null, check);
  clients.set("bare", new Client(`127.0.0.1:${port}`, bare, options));
  const other = (await (await makeAuthority(join(directory, "other"))).identity("x"))();
  const [key, cert] = [Buffer.from(other.key), Buffer.from(other.cert)];
  const foreign = credentials.createSsl(Buffer.from(ca), key, cert, check);
  clients.set("foreign", new Client(`127.0.0.1:${port}`, foreign, options));
  for (const who of ["bare", "foreign"]) {
    for (const method of methods.slice(0, 2)) {
      assert.is((await call(who, method)).code, unavailable, who);
    }
  }
});

test("a request is no larger than a mebibyte", async () => {
  const method = { path: "/ums.migration.v1.Migration/Cancel", responseStream: false };
  const { code, message } = await call("operator", method, Buffer.alloc(1024 * 1024 + 1));
  assert.is(code, resourceExhausted, message);
});

test("a peer that asks too often must wait, others need not", async () => {
  const method = { path: "/ums.migration.v1.Peer/Reserve", responseStream: false };
  clients.set("hasty", await connect("peer", "hasty"));
  const codes: number[] = [];
  let last: Answer | undefined;
  for (let count = 0; count < 60 && last?.code !== resourceExhausted; count += 1) {
    last = await call("hasty", method, reservation);
    codes.push(last.code);
  }
  assert.is(last?.code, resourceExhausted, codes.join(" "));
  assert.is(last?.errorCode, "ERR_TOO_MANY_REQUESTS");
  assert.ok(codes.length > 20, `only ${codes.length} calls`);
  assert.is((await call("peer", method, reservation)).code, notFound);
});

const reservation = Buffer.from(
  ReserveRequest.encode({
    migration: { migrationId: "00000000-0000-4000-8000-000000000001", epoch: 1n },
    spec: {
      ...{ serviceId: "1", name: "svc", hostname: "h", mounts: [], labels: {}, limits: undefined },
      image: { reference: "i", id: "sha256:1", layers: [] },
      process: { env: [], isTty: false, hasStdin: false },
      network: { subnet: "10.0.0.0/29", gateway: "10.0.0.1", address: "10.0.0.2" },
      security: { addCapabilities: [], dropCapabilities: [], readOnlyRootfs: false },
    },
    facts: {
      ...{ protocolVersion: 1, umsVersion: "1", architecture: "x64", kernelRelease: "6" },
      ...{ criuVersion: "4", cgroupVersion: 2, cpuFlags: [] },
    },
    ...{ memoryBytes: 1n, diskBytes: 1n, sourceAddress: ":1", token: "" },
  }).finish(),
);

interface Answer {
  code: number;
  errorCode: unknown;
  message: string;
}

/** The server does not tell which port the system chose, so it is asked before. */
async function freePort(): Promise<number> {
  const probe = createServer().listen(0, "127.0.0.1");
  await once(probe, "listening");
  const found = (probe.address() as AddressInfo).port;
  probe.close();
  await once(probe, "close");
  return found;
}

/** Handlers that say that they were reached. */
function everyCall(definition: object): Record<string, unknown> {
  const reached = { code: notFound, details: "reached" };
  const handler = (
    incoming: { emit(event: string, error: object): void },
    callback?: (error: object) => void,
  ) => (callback === undefined ? incoming.emit("error", reached) : callback(reached));
  return Object.fromEntries(Object.keys(definition).map((name) => [name, handler]));
}

async function connect(role: PeerRole, name: string): Promise<Client> {
  const { ca, key, cert } = (await authority.identity(name, role))();
  const channel = credentials.createSsl(Buffer.from(ca), Buffer.from(key), Buffer.from(cert), {
    checkServerIdentity: () => undefined,
  });
  return new Client(`127.0.0.1:${port}`, channel, {
    "grpc.ssl_target_name_override": "ums-peer",
  });
}

/** Raw bytes both ways: what is asked is beside the point. */
function call(
  who: string,
  { path, responseStream }: Method,
  request: Buffer = Buffer.alloc(0),
): Promise<Answer> {
  const client = clients.get(who);
  if (client === undefined) throw new TypeError(`no client ${who}`);
  const bytes = (value: Buffer) => value;
  const options = { deadline: Date.now() + callTimeoutMs };
  const answer = new Promise<Answer>((resolve) => {
    const fail = ({ code, details, metadata }: ServiceError) =>
      resolve({ code, errorCode: metadata?.get("error-code")[0], message: details });
    const succeed = () => resolve({ code: ok, errorCode: undefined, message: "" });
    if (responseStream) {
      const stream = client.makeServerStreamRequest(path, bytes, bytes, request, options);
      // A watch goes on; that it was taken is what counts. The cancel ends in an error too.
      stream.once("data", () => {
        succeed();
        stream.cancel();
      });
      stream.on("error", (error) => fail(error as ServiceError));
      stream.once("end", succeed);
      return;
    }
    client.makeUnaryRequest(path, bytes, bytes, request, options, (error) =>
      error === null ? succeed() : fail(error),
    );
  });
  return within(callTimeoutMs + 1_000, path, answer);
}

test.run();
