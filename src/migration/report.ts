/** What a migration has done so far and how it ended, for people and programs watching it. */
import type { UmsError } from "../errors.js";

export interface MigrationResult {
  outcome: "moved" | "aborted";
  /** Where the service runs. */
  runsOn: "source" | "destination";
  failure?: UmsError;
}

export interface MigrationProgress {
  phase: string;
  bytesSent: number;
  /** Estimate; undefined while unknown. */
  bytesTotal: number | undefined;
  elapsedMs: number;
}

export interface MigrationReport {
  readonly migrationId: string;
  readonly progress: MigrationProgress;
  /** Milliseconds of each named step. */
  readonly timingsMs: Record<string, number>;
  /** From the freeze until the service ran again, wherever; undefined when it was never frozen. */
  readonly freezeMs: number | undefined;
  readonly totalMs: number | undefined;
  readonly result: MigrationResult | undefined;
  /** Why a committed migration is not confirmed yet; undefined when there is no doubt. */
  readonly doubtReason: string | undefined;
  /** Resolves with the outcome. */
  ended(): Promise<MigrationResult>;

  enter(phase: string): void;
  expect(bytesTotal: number): void;
  sent(bytes: number): void;
  /** `step` took so long; one done several times is added up. */
  timing(step: string, ms: number): void;
  /** Steps of the peer, which tells all it knows in each answer: a later value replaces. */
  setTimings(prefix: string, timingsMs: Record<string, number>): void;
  froze(ms: number): void;
  doubt(reason: string): void;
  end(result: MigrationResult): void;
}

export function createReport(migrationId: string): MigrationReport {
  return new Report(migrationId);
}

class Report implements MigrationReport {
  readonly timingsMs: Record<string, number> = {};
  freezeMs: number | undefined;
  totalMs: number | undefined;
  result: MigrationResult | undefined;
  doubtReason: string | undefined;
  private readonly startedMs = performance.now();
  private phase = "PREPARING";
  private bytesSent = 0;
  private bytesTotal: number | undefined;
  private readonly waiters: ((result: MigrationResult) => void)[] = [];

  constructor(readonly migrationId: string) {}

  get progress(): MigrationProgress {
    return {
      phase: this.phase,
      bytesSent: this.bytesSent,
      bytesTotal: this.bytesTotal,
      elapsedMs: this.totalMs ?? performance.now() - this.startedMs,
    };
  }

  ended(): Promise<MigrationResult> {
    if (this.result !== undefined) return Promise.resolve(this.result);
    return new Promise((resolve) => this.waiters.push(resolve));
  }

  enter(phase: string): void {
    this.phase = phase;
  }

  expect(bytesTotal: number): void {
    this.bytesTotal = bytesTotal;
  }

  sent(bytes: number): void {
    this.bytesSent += bytes;
  }

  timing(step: string, ms: number): void {
    this.timingsMs[step] = (this.timingsMs[step] ?? 0) + ms;
  }

  setTimings(prefix: string, timingsMs: Record<string, number>): void {
    for (const [step, ms] of Object.entries(timingsMs)) this.timingsMs[`${prefix}.${step}`] = ms;
  }

  froze(ms: number): void {
    this.freezeMs ??= ms;
  }

  doubt(reason: string): void {
    this.doubtReason = reason;
  }

  end(result: MigrationResult): void {
    if (this.result !== undefined) return;
    this.result = result;
    this.doubtReason = undefined;
    this.totalMs = performance.now() - this.startedMs;
    for (const waiter of this.waiters.splice(0)) waiter(result);
  }
}
