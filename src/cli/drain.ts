/** `ums drain`. */
import type { Command } from "commander";
import { UmsError } from "../errors.js";
import { addConnectionFlags, type ConnectionFlags, withSupervisor } from "./connection.js";

type Flags = ConnectionFlags & { deadline: number; reset?: boolean };

const defaultDeadlineSeconds = 600;
const maxDeadlineSeconds = 86_400;

export function registerDrain(program: Command): void {
  addConnectionFlags(program.command("drain"))
    .description("end the relay of a service that has left this outer container")
    .option(
      "--deadline <seconds>",
      "cut connections that still exist after so long",
      parseSeconds,
      defaultDeadlineSeconds,
    )
    .option("--reset", "reset connections at once, so that clients connect to the new place")
    .action(async ({ deadline, reset = false, ...connection }: Flags) => {
      const order = { deadlineMs: deadline * 1000, reset };
      const { flows, resets } = await withSupervisor(connection, (client) =>
        client.drainRelay(order),
      );
      const left = reset ? `, ${resets} reset` : "";
      process.stdout.write(`draining: ${flows} conversations are relayed${left}\n`);
    });
}

function parseSeconds(text: string): number {
  const seconds = Number(text);
  if (Number.isInteger(seconds) && seconds >= 1 && seconds <= maxDeadlineSeconds) return seconds;
  throw new UmsError("ERR_CONFIG_INVALID", `"${text}" is not 1 to ${maxDeadlineSeconds} seconds`);
}
