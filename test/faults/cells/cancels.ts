/** `ums cancel` at every step: before the decision it wins, after it it is refused. */
import { sleep } from "../../../src/lib/deadline.js";
import type { Cell, Outcome, Role } from "../cell.js";
import { pausedAt } from "./paused.js";

const states: readonly [Role, string, Outcome][] = [
  ["source", "source.do.reserve", "aborted"],
  ["source", "call.Reserve.answer", "aborted"],
  ["source", "source.do.precopy", "aborted"],
  ["source", "call.Provision.answer", "aborted"],
  ["source", "call.Arm.answer", "aborted"],
  ["source", "source.do.freeze", "aborted"],
  ["source", "source.do.dump", "aborted"],
  ["source", "source.do.prepare", "aborted"],
  ["source", "call.Prepare.answer", "aborted"],
  ["destination", "destination.do.provision", "aborted"],
  ["destination", "destination.do.verify", "aborted"],
  ["destination", "destination.do.restore", "aborted"],
  ["destination", "destination.record.PREPARED", "aborted"],
  ["source", "source.record.COMMITTED", "moved"],
  ["source", "source.do.send-commit", "moved"],
  ["destination", "destination.do.thaw", "moved"],
];

/** An order that waits for a record that waits for the test: it is not waited for. */
const orderMs = 1_000;

export const cancels: readonly Cell[] = states.map(([on, point, expect]) =>
  pausedAt({
    category: "cancel",
    fault: "cancelled by the operator",
    on,
    point,
    expect,
    ...(expect === "aborted" ? { code: "ERR_CANCELLED" } : {}),
    async meanwhile({ pair, source }) {
      const cancelling = pair.cancel(source).then(
        () => "accepted",
        (error: Error) => error.message,
      );
      await Promise.race([cancelling, sleep(orderMs)]);
    },
  }),
);
