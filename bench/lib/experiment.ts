/** What is measured, and what a measurement is. */

/** The port of every program of the fixture (images/fixtures/README.md). */
export const servicePort = 7000;

/** The image of the nested service of every experiment. */
export const fixture = "programs";

export type ExperimentName = "memory" | "processes";
export type MethodName = "ums" | "docker-checkpoint";

/** One point of an axis. */
export interface Experiment {
  name: ExperimentName;
  /** Incompressible memory the service holds, MiB. */
  memoryMib: number;
  /** Processes that talk to each other. */
  processes: number;
  /** Program of the fixture, with arguments. */
  command: readonly string[];
  /** What a client asks again and again. */
  request: "next" | "check";
}

export interface Measurement {
  totalMs: number;
  /** The time the service does not run, as the method itself knows it. */
  freezeMs: number;
  /** The same seen from outside; null where the service shows nothing. */
  gapMs: number | null;
  bytesSent: number;
  /** Most memory beyond the process that the destination needed, bytes. */
  peakBytes: number;
  /** Most memory beyond the process that the source needed, bytes. */
  sourcePeakBytes: number;
  timingsMs: Record<string, number>;
  /** What went wrong for the service or its clients; a good run has none. */
  faults: string[];
}

export interface Method {
  readonly name: MethodName;
  /** Starts two outer containers, migrates the experiment's service once, and removes them. */
  measure(experiment: Experiment): Promise<Measurement>;
  /** Removes everything the method has made. May be called twice, and during a measurement. */
  close(): Promise<void>;
}

export function memoryExperiment(memoryMib: number): Experiment {
  const command = ["counter", String(memoryMib)];
  return { name: "memory", memoryMib, processes: 1, command, request: "next" };
}

/** `multi-process N` has, besides N talking children, their parent and N / 2 that only wait. */
export function processesExperiment(processes: number): Experiment {
  const command = ["multi-process", String(processes)];
  return { name: "processes", memoryMib: 0, processes, command, request: "check" };
}

/** As `--only` and the table call it. */
type Point = Pick<Experiment, "name" | "memoryMib" | "processes">;

export function labelOf({ name, memoryMib, processes }: Point): string {
  return name === "memory" ? `memory-${memoryMib}` : `processes-${processes}`;
}
