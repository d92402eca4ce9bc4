/** Two Coordinators of one installation, a and b, over real HTTPS; all else is fake. */
import { writeFile } from "node:fs/promises";
import { Agent, request } from "node:https";
import { join } from "node:path";
import { loadCoordinatorConfig } from "../../src/coordinator/config.js";
import { type Coordinator, openCoordinator } from "../../src/coordinator/main.js";
import { poll } from "../../src/lib/deadline.js";
import { silentLogger } from "../../src/lib/log.js";
import type { Orchestrator } from "../../src/orchestrators/contract.js";
import { makeAuthority, type TestAuthority } from "./certificates.js";
import { FakeOrchestrator } from "./fake-orchestrator.js";
import { FakeWorld } from "./fake-outer.js";
import { freePort } from "./free-port.js";

export const token = "0123456789abcdef0123456789abcdef";

export interface Answer {
  status: number;
  headers: Record<string, string | string[] | undefined>;
  // biome-ignore lint/suspicious/noExplicitAny: whatever the API answers; tests look into it.
  body: any;
}

export interface Ask {
  method?: string;
  body?: unknown;
  headers?: Record<string, string>;
  /** Directory of a client certificate; default: none, but the token. */
  tls?: string;
  text?: string;
}

/** Short enough for tests, long enough for a busy machine. */
export const fastWaits = {
  arrivalPollMs: 20,
  awayMs: 500,
  watchMs: 100,
  confirmMs: 20_000,
  retireMs: 20_000,
  undoMs: 2_000,
  backoff: { initialMs: 20, maxMs: 100 },
};

export class CoordinatorPair {
  readonly ports: Record<string, number> = {};
  readonly running = new Map<string, Coordinator>();
  readonly fakes: Record<"a" | "b", FakeOrchestrator>;
  /** What the Coordinators drive: the fakes, unless a test has put others here. */
  readonly orchestrators: Record<"a" | "b", Orchestrator>;

  private constructor(
    readonly directory: string,
    readonly authority: TestAuthority,
    readonly world: FakeWorld,
  ) {
    this.fakes = { a: new FakeOrchestrator(world, "a"), b: new FakeOrchestrator(world, "b") };
    this.orchestrators = { ...this.fakes };
  }

  /** @param isStarted false: the test starts them itself, with its own orchestrators */
  static async open(directory: string, isStarted = true): Promise<CoordinatorPair> {
    const authority = await makeAuthority(directory);
    const world = new FakeWorld(await authority.identity("outer"));
    const pair = new CoordinatorPair(directory, authority, world);
    await writeFile(join(directory, "token"), `${token}\n`);
    for (const system of ["a", "b"]) {
      await authority.issue(system, "operator");
      pair.ports[system] = await freePort();
    }
    if (isStarted) {
      await pair.start("a");
      await pair.start("b");
    }
    return pair;
  }

  async start(system: "a" | "b", env: Record<string, string> = {}): Promise<void> {
    const other = system === "a" ? "b" : "a";
    const config = loadCoordinatorConfig({
      UMS_COORDINATOR_SYSTEM: system,
      UMS_COORDINATOR_LISTEN: `127.0.0.1:${this.ports[system]}`,
      UMS_COORDINATOR_TLS_DIR: join(this.directory, `operator-${system}`),
      UMS_COORDINATOR_TOKEN_FILE: join(this.directory, "token"),
      UMS_COORDINATOR_SYSTEMS: `${other}=https://127.0.0.1:${this.ports[other]}`,
      UMS_COORDINATOR_STATE_DIR: join(this.directory, `state-${system}`),
      ...env,
    });
    const coordinator = await openCoordinator({
      config,
      log: silentLogger(),
      openOrchestrator: async () => this.orchestrators[system],
      waits: fastWaits,
    });
    this.running.set(system, coordinator);
  }

  /** Ends a Coordinator where it stands, as far as that is possible in one process. */
  async stop(system: "a" | "b"): Promise<void> {
    await this.running.get(system)?.close();
    this.running.delete(system);
  }

  async close(): Promise<void> {
    await this.stop("a");
    await this.stop("b");
    await this.world.close();
  }

  ask(system: "a" | "b", path: string, options: Ask = {}): Promise<Answer> {
    return askServer(`https://127.0.0.1:${this.ports[system]}${path}`, this.directory, options);
  }

  migrate(body: Record<string, unknown> = {}, headers: Record<string, string> = {}) {
    const request = { service: "shop", destination: { system: "b" }, source: "delete", ...body };
    return this.ask("a", "/v1/migrations", { method: "POST", body: request, headers });
  }

  /** The migration, once `is` holds for it. */
  until(id: string, is: (migration: Answer["body"]) => boolean): Promise<Answer["body"]> {
    const look = async () => {
      const { body } = await this.ask("a", `/v1/migrations/${id}`);
      return is(body) ? body : undefined;
    };
    return poll(`migration ${id}`, look, { timeoutMs: 120_000, intervalMs: 50 });
  }

  settled(id: string): Promise<Answer["body"]> {
    return this.until(id, ({ isSettled }) => isSettled);
  }
}

export async function askServer(url: string, directory: string, options: Ask): Promise<Answer> {
  const { readFile } = await import("node:fs/promises");
  const { tls, body, text } = options;
  const file = async (name: string) => readFile(join(tls ?? directory, name), "utf8");
  const agent = new Agent({
    ca: await readFile(join(directory, "ca", "ca.crt"), "utf8"),
    ...(tls === undefined ? {} : { cert: await file("tls.crt"), key: await file("tls.key") }),
    // Names are checked by the Coordinators themselves, by their ums:// identity.
    checkServerIdentity: () => undefined,
  });
  const content = text ?? (body === undefined ? undefined : JSON.stringify(body));
  const headers = {
    ...(tls === undefined ? { authorization: `Bearer ${token}` } : {}),
    ...(content === undefined ? {} : { "content-type": "application/json" }),
    ...options.headers,
  };
  return new Promise((resolve, reject) => {
    const call = request(url, { method: options.method ?? "GET", headers, agent }, (response) => {
      let received = "";
      response.setEncoding("utf8");
      response.on("data", (part: string) => {
        received += part;
      });
      response.once("error", reject);
      response.once("end", () => {
        const { statusCode = 0, headers: got } = response;
        const isJson = /json/.test(got["content-type"] ?? "");
        resolve({
          status: statusCode,
          headers: got,
          body: isJson ? JSON.parse(received) : received,
        });
      });
    });
    call.once("error", reject);
    call.end(content);
  });
}
