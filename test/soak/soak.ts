/** The run itself: a Redis goes round three outer containers while clients use it all the time. */

import { digestFiles, writeFiles } from "../demo/files.js";
import type { OuterLab } from "../lib/outer.js";
import { outerWithFixture } from "../lib/outer-image.js";
import { openRedis } from "../lib/redis-client.js";
import { countLostKeys, fillKeys, whenRedisAnswers } from "../lib/redis-load.js";
import {
  type ClientTotals,
  openQuietClient,
  type QuietClient,
  type SoakClient,
  startClient,
} from "./clients.js";
import { type FailedMove, type MoveRecord, moveOnce, whenRetired } from "./moves.js";
import type { SoakOptions } from "./options.js";
import { type Move, type Place, type places, planEnd, planMoves, roundMoves } from "./plan.js";
import { type RelayShare, watchRelays } from "./relays.js";
import { type Outers, type Sample, takeSample, takeSettledSample } from "./samples.js";
import { createTopology, type Topology } from "./topology.js";

const redisPort = 6379;
/** About 20 MiB in Redis. */
const keyCount = 150_000;
const fileCount = 100;
/** A move that failed is tried again so often before the run is given up. */
const triesPerMove = 3;

export interface SoakResult {
  moves: MoveRecord[];
  failedMoves: FailedMove[];
  /** From the end of the warm-up on. */
  samples: Sample[];
  clients: ({ name: string } & ClientTotals)[];
  /** What is wrong with the connections on which nothing was said. */
  quiet: string[];
  lostKeys: number;
  lostFiles: number;
  relays: RelayShare[];
}

export interface SoakEvents {
  /** Aborted: the run goes to its last round, and is judged as far as it came. */
  stop: AbortSignal;
  moved(count: number, record: MoveRecord | FailedMove): void;
  say(text: string): void;
}

export async function runSoak(
  lab: OuterLab,
  options: SoakOptions,
  events: SoakEvents,
): Promise<SoakResult> {
  events.say("starting three outer containers, a with Redis");
  const outers = await startOuters(lab);
  await fill(outers);
  const files = await writeFiles(outers.a, fileCount);
  const soak = new Soak(outers, options, events);
  await soak.arrive("a");
  await soak.walk();
  return await soak.judge(files);
}

class Soak {
  private readonly topology: Topology = createTopology("a");
  private readonly clients: SoakClient[] = [];
  private readonly quiet = new Map<Place, QuietClient>();
  private readonly moves: MoveRecord[] = [];
  private readonly failedMoves: FailedMove[] = [];
  private readonly samples: Sample[] = [];
  private readonly relays: RelayShare[] = [];

  constructor(
    private readonly outers: Outers,
    private readonly options: SoakOptions,
    private readonly events: SoakEvents,
  ) {}

  /** A place's address leads to the service once that has been there: clients from then on. */
  async arrive(place: Place): Promise<void> {
    if (this.quiet.has(place)) return;
    const address = this.outers[place].port(redisPort);
    this.quiet.set(place, await openQuietClient(address));
    this.clients.push(
      startClient(`${place}.established`, address, "established"),
      startClient(`${place}.new`, address, "new"),
    );
  }

  async walk(): Promise<void> {
    const { stop } = this.events;
    let left = planMoves(this.options.moves, this.options.seed);
    let isEnding = false;
    for (let move = left.shift(); move !== undefined; move = left.shift()) {
      if (!(await this.go(move))) return;
      await this.arrive(move.to);
      await this.look(left.length === 0);
      if (stop.aborted && !isEnding && this.moves.length >= roundMoves) {
        left = planEnd(this.topology.home);
        isEnding = true;
      }
    }
  }

  async judge(files: Map<string, string>): Promise<SoakResult> {
    const { outers } = this;
    const totals = await Promise.all(this.clients.map((client) => client.stop()));
    const quiet = await Promise.all([...this.quiet].map(([, client]) => client.ask()));
    for (const client of this.quiet.values()) client.close();
    const redis = await openRedis(outers.a.port(redisPort));
    const lostKeys = await countLostKeys(redis, keyCount);
    redis.close();
    const filesAfter = await digestFiles(outers[this.topology.home]);
    const isLost = ([name, digest]: [string, string]) => filesAfter.get(name) !== digest;
    return {
      moves: this.moves,
      failedMoves: this.failedMoves,
      samples: this.samples,
      clients: totals.map((total, index) => ({ name: this.clients[index]?.name ?? "", ...total })),
      quiet: [...this.quiet.keys()].flatMap((place, index) =>
        quiet[index] === undefined ? [] : [`${place}: ${quiet[index]}`],
      ),
      lostKeys,
      lostFiles: [...files].filter(isLost).length,
      relays: this.relays,
    };
  }

  /** @returns false when the service would not go */
  private async go(move: Move): Promise<boolean> {
    for (let attempt = 1; attempt <= triesPerMove; attempt += 1) {
      const record = await moveOnce(this.outers, move, this.clients);
      this.events.moved(this.moves.length + 1, record);
      if ("totalMs" in record) {
        this.moves.push(record);
        this.topology.moved(move);
        return true;
      }
      this.failedMoves.push(record);
    }
    return false;
  }

  private async look(isLast: boolean): Promise<void> {
    const afterMoves = this.moves.length;
    const isEnd = afterMoves === roundMoves || isLast;
    const sinceWarm = afterMoves - roundMoves;
    if (sinceWarm < 0 || (!isEnd && sinceWarm % this.options.sampleEvery !== 0)) return;
    const last = this.moves.at(-1);
    if (last !== undefined) await whenRetired(this.outers, last);
    const moment = { afterMoves, home: this.topology.home };
    const sampling = isEnd ? takeSettledSample : takeSample;
    this.samples.push(await sampling(this.outers, moment));
    this.relays.push(await watchRelays(this.outers, this.topology, this.clients, afterMoves));
  }
}

async function startOuters(lab: OuterLab): Promise<Outers> {
  const image = await outerWithFixture("redis");
  const volume = await lab.volume("data");
  const ports = [redisPort];
  const [a, b, c] = await Promise.all([
    lab.start("a", { image, ports, flags: ["-v", `${volume}:/data`] }),
    lab.start("b", { ports }),
    lab.start("c", { ports }),
  ]);
  return { a, b, c } satisfies Record<(typeof places)[number], unknown>;
}

async function fill(outers: Outers): Promise<void> {
  const redis = await whenRedisAnswers(outers.a.port(redisPort));
  await fillKeys(redis, keyCount);
  redis.close();
}
