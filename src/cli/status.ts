/** `ums ps`, `ums status`, `ums cancel`. */
import type { Command } from "commander";
import type { CancelResponse, GetStatusResponse } from "../gen/ums/migration/v1/migration.js";
import { callSupervisor } from "./call.js";
import { addConnectionFlags, type ConnectionFlags, connectSupervisor } from "./connection.js";
import { toJson } from "./json.js";

type Flags = ConnectionFlags & { output: "text" | "json" };

export function registerStatus(program: Command): void {
  addConnectionFlags(program.command("ps"))
    .description("list the service of this outer container")
    .option("--output <format>", "text or json", "text")
    .action(async (flags: Flags) => {
      const status = await readStatus(flags);
      print(flags, status, table(status));
    });

  addConnectionFlags(program.command("status"))
    .description("say who owns the service, where it runs and what to do")
    .option("--output <format>", "text or json", "text")
    .action(async (flags: Flags) => {
      const status = await readStatus(flags);
      print(flags, status, describe(status));
    });

  addConnectionFlags(program.command("cancel"))
    .description("stop a migration that is not committed; the service stays here")
    .argument("[migration]", "id of the migration (default: the one under way)")
    .action(async (migrationId: string | undefined, flags: ConnectionFlags) => {
      const client = await connectSupervisor(flags);
      const answer = await callSupervisor<CancelResponse>(client, "Cancel", (options, done) =>
        client.cancel({ migrationId: migrationId ?? "" }, ...options, done),
      );
      process.stdout.write(`${answer.migrationId} cancelled\n`);
    });
}

async function readStatus(flags: Flags): Promise<GetStatusResponse> {
  const client = await connectSupervisor(flags);
  return callSupervisor<GetStatusResponse>(client, "GetStatus", (options, done) =>
    client.getStatus({}, ...options, done),
  );
}

function print(flags: Flags, status: GetStatusResponse, text: string): void {
  process.stdout.write(flags.output === "json" ? `${toJson(status)}\n` : text);
}

function table({ name, image, state, here, peer }: GetStatusResponse): string {
  const rows = [
    ["SERVICE", "IMAGE", "STATE", "HERE", "PEER"],
    [name || "-", image || "-", state, here, peer || "-"],
  ];
  const widths = rows[0]?.map((_, column) =>
    Math.max(...rows.map((row) => row[column]?.length ?? 0)),
  );
  return rows
    .map((row) => row.map((cell, column) => cell.padEnd(widths?.[column] ?? 0)).join("  "))
    .map((line) => `${line.trimEnd()}\n`)
    .join("");
}

function describe(status: GetStatusResponse): string {
  const lines: [string, string][] = [
    ["service", `${status.name || "-"} ${status.serviceId}`.trim()],
    ["image", status.image || "-"],
    ["state", `${status.state}, epoch ${status.epoch}`],
    ["here", status.here],
    ["peer", status.peer || "-"],
    ["migration", status.migrationId || "-"],
    ["relayed", `${status.relayedPackets} packets, ${status.relayedBytes} bytes`],
  ];
  const facts = lines.map(([label, value]) => `${label.padEnd(10)} ${value}\n`).join("");
  return `${facts}\n${status.explanation}\n`;
}
