/** Two outer containers that do not fit: the migration is refused before anything is disturbed. */
import { mkdir, writeFile } from "node:fs/promises";
import { poll } from "../../../src/lib/deadline.js";
import type { Cell, Scene } from "../cell.js";
import { faultDirectory } from "../side.js";

const skew = (fault: string, facts: object, code?: string): Cell => ({
  category: "skew",
  fault,
  state: "PREPARING",
  expect: code === undefined ? "moved" : "aborted",
  ...(code === undefined ? {} : { code }),
  boundMs: 90_000,
  pair: {},
  before: (scene) => pretend(scene, facts),
});

export const skews: readonly Cell[] = [
  skew("another protocol at the destination", { protocolVersion: 2 }, "ERR_PEER_VERSION"),
  skew("an older CRIU at the destination", { criuVersion: "3.19" }, "ERR_PEER_INCOMPATIBLE"),
  skew("a newer CRIU at the destination", { criuVersion: "9.0" }),
  skew("fewer CPU features at the destination", { cpuFlags: ["fpu"] }, "ERR_PEER_INCOMPATIBLE"),
  skew("another architecture", { architecture: "arm64" }, "ERR_PEER_INCOMPATIBLE"),
  skew("cgroup v2 against v1", { cgroupVersion: 99 }, "ERR_PEER_INCOMPATIBLE"),
  skew("another release of UMS", { umsVersion: "99.0.0" }),
];

/** The facts are read once, when the supervisor starts. */
async function pretend({ pair, destination }: Scene, facts: object): Promise<void> {
  await mkdir(destination.path(faultDirectory), { recursive: true });
  await writeFile(destination.path(`${faultDirectory}/facts.json`), JSON.stringify(facts));
  const before = await destination.supervisorPid();
  await destination.signalSupervisor("SIGKILL");
  const isAnew = async () => {
    const pid = await destination.supervisorPid();
    return pid !== undefined && pid !== before && (await pair.answers(destination));
  };
  await poll("the new supervisor", isAnew, { timeoutMs: 60_000 });
}
