/** Full disks: small file systems under the state, or what is left of them filled at a point. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { run } from "../../../src/lib/exec.js";
import type { Cell, Outcome, Role, Scene } from "../cell.js";
import { pausedAt } from "./paused.js";

/** A tmpfs is as full as a disk, and needs no loop device. */
const small = (path: string, size: string) => ({ flags: ["--mount", mountOf(path, size)] });

function mountOf(path: string, size: string): string {
  return `type=tmpfs,destination=${path},tmpfs-size=${size}`;
}

const journal = (on: Role, point: string, expect: Outcome): Cell =>
  pausedAt({
    category: "disk",
    fault: `journal's disk of the ${on} full`,
    on,
    point,
    expect,
    pair: { [on]: small("/var/lib/ums", "1m") },
    meanwhile: ({ side }) => fill(side(on), "/var/lib/ums"),
    afterwards: ({ side }) => rm(side(on).path("/var/lib/ums/fill"), { force: true }),
  });

const journals: Cell[] = [
  journal("source", "source.record.PRECOPY", "either"),
  journal("source", "source.record.FREEZING", "either"),
  journal("source", "source.record.COMMITTED", "either"),
  journal("source", "source.record.DONE", "moved"),
  journal("destination", "destination.record.RESERVED", "either"),
  journal("destination", "destination.record.PREPARED", "either"),
  journal("destination", "destination.record.OWNER", "moved"),
  journal("destination", "destination.record.RUNNING", "moved"),
];

/** A real file system on a loop device: the engine's overlay needs one. */
const engine = (on: Role, point: string, expect: Outcome): Cell => ({
  ...pausedAt({
    category: "disk",
    fault: `engine's disk of the ${on} full`,
    on,
    point,
    expect,
    boundMs: 120_000,
    meanwhile: ({ side }) => fill(side(on), "/var/lib/docker"),
    async afterwards({ side, migrating }) {
      await migrating;
      await rm(side(on).path("/var/lib/docker/fill"), { force: true });
    },
  }),
  pair: { withDisk: on },
  mayLack: true,
});

const engines: Cell[] = [
  engine("source", "source.do.precopy", "either"),
  engine("source", "source.do.dump", "either"),
  engine("destination", "destination.record.RESERVED", "aborted"),
  engine("destination", "destination.do.provision", "either"),
  engine("destination", "destination.do.restore", "either"),
  engine("destination", "destination.do.thaw", "moved"),
];

const room: Cell[] = [
  {
    category: "room",
    fault: "too little memory at the destination",
    state: "PREPARING",
    expect: "aborted",
    code: "ERR_NO_ROOM",
    pair: { args: ["counter", "192", "20"], destination: { flags: ["--memory", "384m"] } },
  },
  {
    category: "room",
    fault: "too little disk at the destination",
    state: "PREPARING",
    expect: "aborted",
    code: "ERR_NO_ROOM",
    pair: { withDisk: "destination" },
    before: ({ destination }) => fill(destination, "/var/lib/docker"),
    after: ({ destination }) => rm(destination.path("/var/lib/docker/fill"), { force: true }),
  },
];

export const disks: readonly Cell[] = [...journals, ...engines, ...room];

/** To the last block; fallocate ends with ENOSPC. */
async function fill(side: Scene["source"], directory: string): Promise<void> {
  const argv = ["dd", "if=/dev/zero", `of=${directory}/fill`, "bs=64k"];
  const full = await side.enter(argv).then(
    () => false,
    () => true,
  );
  if (!full) throw new Error(`${directory} cannot be filled`);
}

const diskBytes = "400M";

/** Makes a file system in a file and mounts it; for `docker run -v`. */
export async function openDisk(): Promise<{ path: string; close(): Promise<void> }> {
  const directory = await mkdtemp(join(tmpdir(), "ums-faults-disk-"));
  const image = join(directory, "image");
  const path = join(directory, "mnt");
  await run(["truncate", "--size", diskBytes, image]);
  await run(["mkfs.ext4", "-q", "-F", "-m", "0", image]);
  await run(["mkdir", path]);
  await run(["mount", "-o", "loop", image, path]);
  return {
    path,
    async close() {
      await run(["umount", path]);
      await rm(directory, { recursive: true });
    },
  };
}
