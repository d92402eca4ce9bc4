/**
 * A client that sends 1, 2, 3 ... at a steady pace over any protocol that echoes, and judges what
 * comes back: nothing lost, nothing twice, nothing out of order, and for how long nothing came.
 */
import { poll, sleep } from "../../src/lib/deadline.js";

/** One connection to an echo. */
export interface Echo {
  send(text: string): void;
  /** Both are set once, before the first `send`. */
  onText(listener: (text: string) => void): void;
  /** The connection ended or failed. */
  onEnd(listener: (reason: string) => void): void;
  close(): void;
}

export interface SequenceReport {
  name: string;
  sent: number;
  received: number;
  /** Longest time from one answer to the next, milliseconds. */
  gapMs: number;
  /** The first few answers that were not the next number, and what ended the connection. */
  problems: string[];
}

export interface Sequence {
  readonly name: string;
  /** Stops sending, waits for the answers that are due and closes. May be called again. */
  stop(): Promise<SequenceReport>;
}

const lastAnswerTimeoutMs = 10_000;
const keptProblems = 5;

export function startSequence(name: string, echo: Echo, paceMs = 5): Sequence {
  const report: SequenceReport = { name, sent: 0, received: 0, gapMs: 0, problems: [] };
  const stopping = new AbortController();
  let lastMs = performance.now();
  const note = (problem: string) => {
    if (report.problems.length < keptProblems) report.problems.push(problem);
  };
  echo.onText((text) => {
    const nowMs = performance.now();
    report.gapMs = Math.max(report.gapMs, nowMs - lastMs);
    lastMs = nowMs;
    const expected = report.received + 1;
    if (text !== String(expected)) note(`${text} came where ${expected} was due`);
    report.received += 1;
  });
  echo.onEnd((reason) => {
    if (!stopping.signal.aborted) note(reason);
  });
  const send = async () => {
    while (!stopping.signal.aborted && report.problems.length === 0) {
      report.sent += 1;
      echo.send(String(report.sent));
      await sleep(paceMs);
    }
  };
  const sending = send();
  let ended: Promise<SequenceReport> | undefined;
  const end = async () => {
    stopping.abort();
    await sending;
    const isAnswered = () => report.received >= report.sent;
    await poll("the last answer", isAnswered, { timeoutMs: lastAnswerTimeoutMs }).catch(() => {
      note(`${report.sent} sent, ${report.received} came back`);
    });
    echo.close();
    return report;
  };
  return {
    name,
    stop() {
      ended ??= end();
      return ended;
    },
  };
}
