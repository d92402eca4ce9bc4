/** `ums ps`, `ums status`, `ums cancel`. */
import type { Command } from "commander";
import type { ServiceStatus, TrafficStatus } from "../migration/view.js";
import { addConnectionFlags, type ConnectionFlags, withSupervisor } from "./connection.js";

type Status = ServiceStatus & TrafficStatus;
type Flags = ConnectionFlags & { output: "text" | "json" };

export function registerStatus(program: Command): void {
  addConnectionFlags(program.command("ps"))
    .description("list the service of this outer container")
    .option("--output <format>", "text or json", "text")
    .action((flags: Flags) => show(flags, table));

  addConnectionFlags(program.command("status"))
    .description("say who owns the service, where it runs and what to do")
    .option("--output <format>", "text or json", "text")
    .action((flags: Flags) => show(flags, describe));

  addConnectionFlags(program.command("cancel"))
    .description("stop a migration that is not committed; the service stays here")
    .argument("[migration]", "id of the migration (default: the one under way)")
    .action(async (migrationId: string | undefined, flags: ConnectionFlags) => {
      const id = await withSupervisor(flags, (client) => client.cancel(migrationId ?? ""));
      process.stdout.write(`${id} cancelled\n`);
    });
}

async function show(flags: Flags, format: (status: Status) => string): Promise<void> {
  const status = await withSupervisor(flags, (client) => client.status());
  const isJson = flags.output === "json";
  process.stdout.write(isJson ? `${JSON.stringify(status)}\n` : format(status));
}

function table({ name, image, state, here, peer }: Status): string {
  const rows = [
    ["SERVICE", "IMAGE", "STATE", "HERE", "PEER"],
    [name || "-", image || "-", state, here, peer || "-"],
  ];
  const width = (column: number) => Math.max(...rows.map((row) => row[column]?.length ?? 0));
  return rows
    .map((row) => row.map((cell, column) => cell.padEnd(width(column))).join("  "))
    .map((line) => `${line.trimEnd()}\n`)
    .join("");
}

function describe(status: Status): string {
  const { state, epoch, since, self, peer, peerName, fence, lastError, next } = status;
  const lines: [string, string][] = [
    ["service", `${status.name || "-"} ${status.serviceId}`.trim()],
    ["image", status.image || "-"],
    ["owner", owners[status.owner]],
    ["state", `${state}, epoch ${epoch}${since === "" ? "" : `, since ${since}`}`],
    ["here", status.here],
    ["this side", self || "-"],
    ["peer", `${peerName} ${peer}`.trim() || "-"],
    ["migration", status.migrationId || "-"],
    ["relay", relayLine(status)],
    ...(lastError === "" ? [] : [["last error", lastError] satisfies [string, string]]),
    ...(fence === "" ? [] : [["fenced by", fence] satisfies [string, string]]),
  ];
  const facts = lines.map(([label, value]) => `${label.padEnd(10)} ${value}\n`).join("");
  return `${facts}\n${status.explanation}\n${next === "" ? "" : `${next}\n`}`;
}

const owners: Record<Status["owner"], string> = {
  here: "this side",
  peer: "the peer",
  undecided: "the peer decides; not known here",
  nobody: "-",
};

function relayLine({ relayPhase, relayedFlows, relayedPackets, relayedBytes, ...queue }: Status) {
  const carried = `${relayedPackets} packets, ${relayedBytes} bytes`;
  const flows = relayPhase === "none" ? "" : `${relayPhase}, ${relayedFlows} conversations, `;
  const { droppedPackets, queuePackets } = queue;
  const dropped = `${droppedPackets} packets dropped by a queue of ${queuePackets}`;
  return `${flows}${carried}${droppedPackets === 0 ? "" : `, ${dropped}`}`;
}
