/** Two outer containers between which the service goes to and fro, one fault at a time. */
import { UmsError } from "../../src/errors.js";
import { within } from "../../src/lib/deadline.js";
import type { OuterLab, OuterOptions } from "../lib/outer.js";
import type { MigrateEnd, PairOptions } from "./cell.js";
import { faultDirectory, Side } from "./side.js";

/** 8 MiB of memory that is checked; a line every 20 ms. */
export const defaultArgs = ["counter", "8", "20"];

export interface LabNetwork {
  /** Flags of `docker run` that give the next free address of the network. */
  nextAddress(): string[];
  /** Of the machine itself, where a proxy of a test listens. */
  gateway: string;
}

export interface PairDeps {
  lab: OuterLab;
  network: LabNetwork;
  /** Outer image that holds the counter. */
  image: string;
}

let made = 0;

export class Pair {
  /** Beyond the two, for further hops. */
  readonly others: Side[] = [];
  /** Lives of the service seen so far: each begins with count 1. */
  expectedLives = 1;

  private constructor(
    private readonly deps: PairDeps,
    private readonly index: number,
    /** The service is here now. */
    public source: Side,
    public destination: Side,
  ) {}

  static async open(deps: PairDeps, options: PairOptions = {}): Promise<Pair> {
    made += 1;
    const index = made;
    const [a, b] = await Promise.all([
      startSide(deps, `${index}a`, {
        image: deps.image,
        args: options.args ?? defaultArgs,
        ...options.source,
      }),
      startSide(deps, `${index}b`, options.destination),
    ]);
    return new Pair(deps, index, a, b);
  }

  get gateway(): string {
    return this.deps.network.gateway;
  }

  get sides(): Side[] {
    return [this.source, this.destination, ...this.others];
  }

  /** A further outer container, standing by. */
  async addSide(options: OuterOptions = {}): Promise<Side> {
    const side = await startSide(this.deps, `${this.index}x${this.others.length}`, options);
    this.others.push(side);
    return side;
  }

  /** After the service has moved. */
  swap(): void {
    [this.source, this.destination] = [this.destination, this.source];
  }

  /** The service is at the destination and goes on to `next`; who had it stays as one more. */
  passOn(next: Side): void {
    const first = this.source;
    this.source = this.destination;
    this.destination = next;
    this.others.splice(0, this.others.length, first);
  }

  /** Asks by gRPC; the connection may break when the source's supervisor dies. */
  async migrate(from: Side, to: Side, budgetMs: number, boundMs: number): Promise<MigrateEnd> {
    const operator = await this.deps.lab.operate(from.outer);
    const request = {
      destination: to.outer.peerAddress,
      destinationName: "",
      service: "",
      downtimeBudgetMs: budgetMs,
    };
    try {
      const migrating = operator.migrate(request, () => undefined);
      const result = await within(boundMs, "the answer to migrate", migrating);
      const { outcome, failure } = result;
      return {
        outcome: outcome === "moved" ? "moved" : "aborted",
        code: failure?.code,
        message: failure?.message ?? "",
      };
    } catch (thrown) {
      const { code, message } = UmsError.from(thrown);
      return { outcome: "unknown", code, message };
    } finally {
      operator.close();
    }
  }

  async cancel(on: Side): Promise<void> {
    const operator = await this.deps.lab.operate(on.outer);
    try {
      await operator.cancel("");
    } finally {
      operator.close();
    }
  }

  /** True when the supervisor answers: it has recovered and listens. */
  async answers(side: Side): Promise<boolean> {
    if (!side.isRunning()) return false;
    const operator = await this.deps.lab.operate(side.outer);
    try {
      await within(5_000, `status of ${side.name}`, operator.status());
      return true;
    } catch {
      // Not yet: asked again by the caller, with a deadline.
      return false;
    } finally {
      operator.close();
    }
  }

  async close(): Promise<void> {
    await Promise.all(
      this.sides.map(async (side) => {
        if (side.isRunning()) await side.die();
        await side.docker("rm", "-fv");
      }),
    );
  }
}

async function startSide(
  { lab, network }: PairDeps,
  name: string,
  options: OuterOptions = {},
): Promise<Side> {
  const outer = await lab.start(name, {
    ...options,
    env: { UMS_TEST_FAULTS: faultDirectory, ...options.env },
    flags: [...network.nextAddress(), ...(options.flags ?? [])],
  });
  return Side.of(outer);
}
