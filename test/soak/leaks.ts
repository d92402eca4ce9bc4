/** Judges the samples: what must be as it was, and what may not grow with the moves. */
import { distributionOf, trendOf } from "./figures.js";
import { type Place, places } from "./plan.js";
import type { Counts, Sample } from "./samples.js";

/** At most so many more at the end than after the warm-up, the places standing to each other alike. */
const steadyCounts: Record<string, number> = {
  zombies: 0,
  processes: 0,
  mounts: 0,
  "supervisor.fds": 2,
  // Kept-alive connections of its clients: 31 to 46 over 200 moves, without a trend.
  "dockerd.fds": 16,
  "containerd.fds": 2,
  links: 0,
  tunDevices: 0,
  routes: 0,
  ipRules: 0,
  nftLines: 0,
  tcpCloseWait: 0,
  unixSockets: 16,
  cgroups: 0,
  containers: 0,
  volumes: 0,
  networks: 0,
  images: 0,
  "runUms.files": 0,
  "run.files": 0,
  "state.files": 0,
  // The engine writes some of its files anew beside the old one.
  "docker.files": 2,
  "tmp.files": 0,
  "log.files": 0,
  "shm.files": 0,
};

const kib = 1024;

/** Bytes a move, as the trend over all samples after the warm-up. */
const growthLimits: Record<string, number> = {
  "supervisor.rssBytes": 100 * kib,
  "dockerd.rssBytes": 50 * kib,
  "containerd.rssBytes": 50 * kib,
  "memory.kernelBytes": 50 * kib,
  "runUms.bytes": kib,
  "run.bytes": kib,
  // The journal keeps every record: 1.6 KiB for each side of a migration, 1.1 KiB a move of three
  // places (measured). It is written ahead by 64 KiB, so the file grows in steps.
  "state.bytes": 4 * kib,
  "journal.bytes": 2 * kib,
  "docker.bytes": 4 * kib,
  "tmp.bytes": 0,
  "log.bytes": 8 * kib,
};

/** A trend over fewer samples says nothing. */
const leastTrendSamples = 12;

export interface LeakRow {
  place: Place;
  name: string;
  first: number;
  last: number;
  /** Most over all samples: a peak shows what the two ends do not. */
  most: number;
  /** Per move; undefined where there are too few samples. */
  slope: number | undefined;
  /** Why it counts as a leak; undefined when it does not. */
  fault: string | undefined;
}

/** @param samples in order; the first after the warm-up, the last at the end */
export function judgeLeaks(samples: readonly Sample[]): LeakRow[] {
  const names = [...Object.keys(steadyCounts), ...Object.keys(growthLimits)];
  return places.flatMap((place) => names.map((name) => judge(samples, place, name)));
}

function judge(samples: readonly Sample[], place: Place, name: string): LeakRow {
  const values = samples.map(({ outer }) => countOf(outer[place], name));
  const [first = 0] = values;
  const last = values.at(-1) ?? 0;
  const { max: most } = distributionOf(values);
  const trend = trendOf(samples.map(({ afterMoves: x }, index) => ({ x, y: values[index] ?? 0 })));
  const slope = samples.length < leastTrendSamples ? undefined : trend?.slope;
  const row = { place, name, first, last, most, slope };
  return { ...row, fault: faultOf(row, trend?.error ?? 0) };
}

function faultOf(row: Omit<LeakRow, "fault">, error: number): string | undefined {
  const { name, first, last, slope } = row;
  const slack = steadyCounts[name];
  if (slack !== undefined && last - first > slack) return `${last - first} more than at first`;
  const limit = growthLimits[name];
  if (limit === undefined || slope === undefined) return undefined;
  // Two standard errors: where the slope cannot be told from a permitted one it is none.
  if (slope - 2 * error <= limit) return undefined;
  return `${(slope / kib).toFixed(1)} KiB a move, limit ${(limit / kib).toFixed(1)}`;
}

function countOf(counts: Counts, name: string): number {
  return counts[name] ?? 0;
}
