/** Every call of a migration that has ended, made once more with the source's own certificate. */
import { readFile } from "node:fs/promises";
import type { Peer, Ref } from "../../src/peer/client.js";
import type { Facts, ServiceSpec } from "../../src/spec.js";
import type { Scene } from "./cell.js";
import type { Side } from "./side.js";

/** A migration that is known is refused before they are looked at. */
const anyFacts: Facts = {
  protocolVersion: 1,
  umsVersion: "0",
  architecture: "x64",
  kernelRelease: "0",
  criuVersion: "4.2.1",
  cgroupVersion: 1,
  cpuFlags: [],
};

/** Only that nothing changes counts; the cell's own checks see that. Each is answered or refused. */
export async function replayAll({ source, destination }: Scene): Promise<void> {
  const { peer, ref, digest } = await source.asPeerOf(destination);
  const calls: (() => Promise<unknown>)[] = [
    () => peer.arm(ref),
    () => peer.provision(ref),
    () => peer.prepare(ref, digest, [], 5_000),
    () => peer.commit(ref, digest),
    () => peer.abort(ref, "late"),
    () => peer.commit(ref, digest),
    () => reserveAgain(peer, ref, source),
    () => peer.query(ref),
  ];
  for (const call of calls) {
    await call().catch(() => undefined); // A refusal is as good as an answer from the journal.
  }
  peer.close();
}

async function reserveAgain(peer: Peer, ref: Ref, source: Side): Promise<void> {
  const stored = JSON.parse(await readFile(source.path("/var/lib/ums/service.json"), "utf8"));
  const { spec } = stored as { spec: ServiceSpec };
  const room = { memoryBytes: 1, diskBytes: 1, sourceAddress: ":9750", token: "" };
  await peer.reserve(ref, { spec, facts: anyFacts, ...room });
}
