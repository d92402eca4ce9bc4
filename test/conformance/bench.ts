/** What the conformance suite must be told of a computing system besides its driver. */
import type { Orchestrator, Workload } from "../../src/orchestrators/contract.js";
import type { CommandResult } from "../lib/command.js";

export interface Bench {
  readonly orchestrator: Orchestrator;
  /** Outer image without a nested one, as this system knows it. */
  readonly image: string;
  /** An outer image that holds ums-fixture/redis, as this system knows it. */
  readonly redisImage: string;
  /** Begins the name of everything the suite makes. */
  readonly prefix: string;
  /** Directory on the system's machine that the driver was told it may bind. */
  readonly allowedBind: string;
  /** Opens the driver on another address, with this deadline for each call. */
  openAt(address: string, callTimeoutMs: number): Promise<Orchestrator>;
  /** Runs a command in the workload's outer container. */
  exec(workload: Workload, argv: readonly string[]): Promise<CommandResult>;
  /** Host and port at which a published TCP port is reached from this machine. */
  published(workload: Workload, port: number): Promise<{ host: string; port: number }>;
  /** Everything in the system whose name begins with `prefix`: `container x`, `volume y`... */
  leftovers(): Promise<string[]>;
  /**
   * What others can do to a workload behind the driver's back, by the system's own tool, in this
   * order on the same workload; the last one may remove it. Each must be refused by a guard, or
   * noticed by it.
   */
  readonly acts: readonly { name: string; run(workload: Workload): Promise<unknown> }[];
  /** Removes, by the system's own tool, whatever a failed test has left. */
  removeAll(): Promise<void>;
  /** Closes the driver; nothing is left. */
  close(): Promise<void>;
}
