/** What the outer containers and this machine have at one moment. */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { poll } from "../../src/lib/deadline.js";
import { run } from "../../src/lib/exec.js";
import { finish } from "../lib/command.js";
import type { OuterContainer } from "../lib/outer.js";
import { type Place, places } from "./plan.js";

export type Counts = Record<string, number>;

export interface Sample {
  afterMoves: number;
  home: Place;
  outer: Record<Place, Counts>;
  /** Everything on this machine, other programs' included. */
  host: Counts;
}

export type Outers = Record<Place, OuterContainer>;

const settleTimeoutMs = 60_000;
/** What the last move has left to tidy up shows in these. */
const settling = ["processes", "mounts", "supervisor.fds", "containers", "cgroups", "runUms.files"];

export async function takeSample(
  outers: Outers,
  { afterMoves, home }: Pick<Sample, "afterMoves" | "home">,
): Promise<Sample> {
  const [counts, host] = await Promise.all([
    Promise.all(places.map((place) => probe(outers[place]))),
    countHost(),
  ]);
  const entries = places.map((place, index) => [place, counts[index]]);
  return { afterMoves, home, outer: Object.fromEntries(entries), host };
}

/** A sample that is the same as the one before it, in what a move's end is still changing. */
export async function takeSettledSample(
  outers: Outers,
  moment: Pick<Sample, "afterMoves" | "home">,
): Promise<Sample> {
  const isSame = (one: Sample, other: Sample) =>
    places.every((place) =>
      settling.every((name) => one.outer[place][name] === other.outer[place][name]),
    );
  let before = await takeSample(outers, moment);
  const probeAgain = async () => {
    const sample = await takeSample(outers, moment);
    const isSettled = isSame(before, sample);
    before = sample;
    return isSettled ? sample : undefined;
  };
  const options = { timeoutMs: settleTimeoutMs, intervalMs: 1_000 };
  // One that never settles is judged as it is: the leak checks say what still changes.
  return await poll("the outer containers settle", probeAgain, options).catch(() => before);
}

async function probe(outer: OuterContainer): Promise<Counts> {
  const input = await readFile(join(import.meta.dirname, "probe.js"));
  const argv = ["docker", "exec", "-i", outer.name, "node", "--input-type=module", "-"];
  const { exitCode, stdout, stderr } = await finish(argv, { input, timeoutMs: 120_000 });
  if (exitCode !== 0) throw new Error(`the probe of ${outer.name} failed: ${stderr}`);
  return JSON.parse(stdout) as Counts;
}

async function countHost(): Promise<Counts> {
  const links = await readdir("/sys/class/net");
  const rows = (text: string) => text.split("\n").filter((line) => line !== "").length;
  const { stdout: states } = await run(["ps", "-eo", "stat="]);
  const { stdout: loops } = await run(["losetup", "--list", "--noheadings"]);
  return {
    mounts: rows(await readFile("/proc/self/mountinfo", "utf8")),
    zombies: states.split("\n").filter((state) => state.startsWith("Z")).length,
    veths: links.filter((name) => name.startsWith("veth")).length,
    loopDevices: rows(loops),
    openFiles: Number((await readFile("/proc/sys/fs/file-nr", "utf8")).split("\t")[0]),
  };
}
