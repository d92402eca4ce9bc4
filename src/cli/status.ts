/** `ums ps`, `ums status`, `ums cancel`. */
import type { Command } from "commander";
import type { ServiceStatus } from "../migration/view.js";
import { addConnectionFlags, type ConnectionFlags, withSupervisor } from "./connection.js";

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

async function show(flags: Flags, format: (status: ServiceStatus) => string): Promise<void> {
  const status = await withSupervisor(flags, (client) => client.status());
  const isJson = flags.output === "json";
  process.stdout.write(isJson ? `${JSON.stringify(status)}\n` : format(status));
}

function table({ name, image, state, here, peer }: ServiceStatus): string {
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

function describe(status: ServiceStatus): string {
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
    ["relayed", `${status.relayedPackets} packets, ${status.relayedBytes} bytes`],
    ...(lastError === "" ? [] : [["last error", lastError] satisfies [string, string]]),
    ...(fence === "" ? [] : [["fenced by", fence] satisfies [string, string]]),
  ];
  const facts = lines.map(([label, value]) => `${label.padEnd(10)} ${value}\n`).join("");
  return `${facts}\n${status.explanation}\n${next === "" ? "" : `${next}\n`}`;
}

const owners: Record<ServiceStatus["owner"], string> = {
  here: "this side",
  peer: "the peer",
  undecided: "the peer decides; not known here",
  nobody: "-",
};
