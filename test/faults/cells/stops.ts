/** A supervisor that is stopped for a minute, as by a debugger or a machine without memory. */
import { sleep } from "../../../src/lib/deadline.js";
import type { Cell, Outcome, Role } from "../cell.js";

const stopMs = 60_000;

/** The downtime budget of 30 s ends an attempt that was frozen when it was stopped. */
const states: readonly [Role, string, Outcome][] = [
  ["source", "source.do.reserve", "either"],
  ["source", "source.do.precopy", "either"],
  ["source", "source.do.freeze", "either"],
  ["source", "source.do.dump", "aborted"],
  ["source", "source.do.prepare", "aborted"],
  ["source", "source.record.COMMITTED", "either"],
  ["source", "source.do.send-commit", "moved"],
  ["source", "source.do.kill", "moved"],
  ["destination", "destination.record.RESERVED", "either"],
  ["destination", "destination.do.provision", "either"],
  ["destination", "destination.do.arm", "either"],
  ["destination", "destination.do.verify", "aborted"],
  ["destination", "destination.do.restore", "aborted"],
  ["destination", "destination.record.PREPARED", "aborted"],
  ["destination", "destination.record.OWNER", "moved"],
  ["destination", "destination.do.thaw", "moved"],
  ["destination", "destination.do.own", "moved"],
];

export const stops: readonly Cell[] = states.map(([on, point, expect]) => ({
  category: "stop",
  fault: `${on}'s supervisor stopped for 60 s`,
  state: point,
  expect,
  boundMs: 200_000,
  arm: [{ on, point, action: "stop" as const }],
  async act({ side }) {
    await side(on).whenStopped();
    await sleep(stopMs);
    await side(on).signalSupervisor("SIGCONT");
  },
}));
