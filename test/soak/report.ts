/** What a run has shown: tables for people, checks for the exit code. */
import type { ClientKind } from "./clients.js";
import { judgeLeaks } from "./leaks.js";
import type { MoveRecord } from "./moves.js";
import type { SoakOptions } from "./options.js";
import type { SoakResult } from "./soak.js";
import { align, distributionTable, leakTable } from "./tables.js";

export interface Check {
  name: string;
  /** Undefined when it passed. */
  fault: string | undefined;
}

/** Most packets that a request takes through a tunnel: request, answer and acknowledgements of four
 * commands at most, and of a connection's beginning and end. */
const mostPacketsPerPassage = 40;

export function describe(result: SoakResult): string {
  const { moves, samples, clients, relays } = result;
  return [
    "",
    distributionTable({
      "total, ms": moves.map(({ totalMs }) => totalMs),
      "freeze, ms": moves.map(({ freezeMs }) => freezeMs),
      "gap, established connections, ms": gaps(moves, "established"),
      "gap, a's established connection, ms": gaps(moves, "established", "a"),
      "gap, new connections, ms": gaps(moves, "new"),
      "sent, KiB": moves.map(({ bytesSent }) => bytesSent / 1024),
    }),
    "",
    align([
      ["client", "answered", "lost", "doubled", "failed"],
      ...clients.map(({ name, answered, lost, doubled, failed }) => [
        name,
        ...[answered, lost, doubled, failed].map(String),
      ]),
    ]),
    ...clients.flatMap(({ name, problems }) => problems.map((problem) => `${name}: ${problem}`)),
    "",
    align([
      ["after moves", "hops a", "b", "c", "packets a passage"],
      ...relays.map(({ afterMoves, hops, expectedPassages, relayedPackets }) => [
        ...[afterMoves, hops.a, hops.b, hops.c].map(String),
        (relayedPackets / Math.max(1, expectedPassages)).toFixed(1),
      ]),
    ]),
    "",
    leakTable(judgeLeaks(samples)),
    `this machine, with all that others do: ${hostLine(result)}`,
    "",
  ].join("\n");
}

export function judge(result: SoakResult, options: SoakOptions): Check[] {
  const { moves, failedMoves, clients, quiet, lostKeys, lostFiles, samples, relays } = result;
  const total = (figure: (client: SoakResult["clients"][number]) => number) =>
    clients.reduce((sum, client) => sum + figure(client), 0);
  const none = (name: string, count: number): Check => ({
    name,
    fault: count === 0 ? undefined : `${count}`,
  });
  const longest = Math.max(...relays.flatMap(({ hops }) => Object.values(hops)));
  const worst = Math.max(
    ...relays.map(
      ({ relayedPackets, expectedPassages }) => relayedPackets / (expectedPassages + 1),
    ),
  );
  const leaks = judgeLeaks(samples).flatMap(({ place, name, fault }) =>
    fault === undefined ? [] : [{ name: `no leak at ${place}: ${name}`, fault }],
  );
  return [
    none(`none of ${options.moves} moves is missing`, Math.max(0, options.moves - moves.length)),
    none("no migration fails", failedMoves.length),
    none(
      "no acknowledged write is lost",
      total(({ lost }) => lost),
    ),
    none(
      "no write is doubled",
      total(({ doubled }) => doubled),
    ),
    none(
      "no request fails",
      total(({ failed }) => failed),
    ),
    none("no key is lost", lostKeys),
    none("no file is lost or changed", lostFiles),
    {
      name: "connections on which nothing was said still work",
      fault: quiet.length === 0 ? undefined : quiet.join("; "),
    },
    {
      name: "no way to the service has more than two tunnels, and none is passed more often",
      fault:
        longest <= 2 && worst <= mostPacketsPerPassage
          ? undefined
          : `${longest} tunnels, ${worst.toFixed(0)} packets a request and tunnel`,
    },
    ...(leaks.length === 0 ? [{ name: "no leak", fault: undefined }] : leaks),
  ];
}

function gaps(moves: readonly MoveRecord[], kind: ClientKind, place = ""): number[] {
  return moves.flatMap(({ gapsMs }) =>
    gapsMs.filter((gap) => gap.kind === kind && gap.name.startsWith(place)).map(({ ms }) => ms),
  );
}

function hostLine({ samples }: SoakResult): string {
  const [first, last] = [samples[0]?.host ?? {}, samples.at(-1)?.host ?? {}];
  return Object.keys(first)
    .map((name) => `${name} ${first[name]} -> ${last[name]}`)
    .join(", ");
}
