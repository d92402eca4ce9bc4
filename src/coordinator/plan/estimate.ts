/** How long a migration at container level takes: an estimate from what the benchmark measured. */

export interface Measure {
  memoryBytes: number;
  diskBytes: number;
  processes: number;
}

export interface Estimate {
  /** Freeze of the service, milliseconds. */
  predictedDowntimeMs: number;
  /** From the order to the hand-over, without the creation of the destination outer container. */
  predictedTotalMs: number;
}

/**
 * Lines through the medians of bench/results.json (0, 128 and 256 MiB; 1 and 8 processes; two
 * machines that are one, hence no network in between): freeze 0.42 s + 5.5 ms/MiB + 20 ms for each
 * further process, 0.8 s for all the rest. Files go over before the freeze; 10 ms/MiB (100 MiB/s)
 * is what one gigabit link carries, not a measurement.
 */
const model = { baseMs: 420, perMibMs: 5.5, perProcessMs: 20, restMs: 800, perDiskMibMs: 10 };
const mib = 1024 * 1024;

export function estimate({ memoryBytes, diskBytes, processes }: Measure): Estimate {
  const furtherProcesses = Math.max(0, processes - 1);
  const freezeMs =
    model.baseMs + model.perMibMs * (memoryBytes / mib) + model.perProcessMs * furtherProcesses;
  const totalMs = freezeMs + model.restMs + model.perDiskMibMs * (diskBytes / mib);
  return { predictedDowntimeMs: Math.round(freezeMs), predictedTotalMs: Math.round(totalMs) };
}
