/** CRIU, the inner engine and its helpers fail, hang or die. */
import { readdir, rm, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { poll, sleep } from "../../../src/lib/deadline.js";
import type { Cell, Role, Scene } from "../cell.js";
import type { Side } from "../side.js";
import { pausedAt } from "./paused.js";

const budgetMs = 8_000;

const atRestore = (fault: string, spoil: (images: string) => Promise<void>): Cell =>
  pausedAt({
    category: "criu",
    fault,
    on: "destination",
    point: "destination.do.restore",
    expect: "aborted",
    code: "ERR_CRIU_RESTORE_FAILED",
    meanwhile: async ({ destination }) => spoil(await imagesOf(destination)),
  });

const restores: Cell[] = [
  atRestore("an image file is missing", (images) => rm(join(images, "core-1.img"))),
  atRestore("the page map is missing", (images) => rm(join(images, "pagemap-1.img"))),
  atRestore("an image file is empty", (images) => truncate(join(images, "core-1.img"), 0)),
  atRestore("the pages are cut short", (images) => truncate(join(images, "pages-1.img"), 4096)),
  atRestore("an image file is damaged", (images) =>
    writeFile(join(images, "mm-1.img"), Buffer.alloc(512, 0xa5)),
  ),
];

/** A dump long enough to be caught in the middle. */
const large = { args: ["counter", "256", "20"] };

const signalled = (
  fault: string,
  on: Role,
  word: string,
  then: (scene: Scene, pid: number) => Promise<void>,
): Cell => ({
  category: "criu",
  fault,
  state: on === "source" ? "dump" : "restore",
  expect: "aborted",
  boundMs: 120_000,
  pair: large,
  budgetMs,
  async act(scene) {
    const find = async () => (await scene.side(on).pidsOf(word))[0];
    const pid = await poll(`${word} of the ${on}`, find, { timeoutMs: 60_000, intervalMs: 5 });
    process.kill(pid, "SIGSTOP");
    await then(scene, pid);
  },
});

const processes: Cell[] = [
  signalled("CRIU killed", "source", "criu swrk", async (_, pid) => {
    process.kill(pid, "SIGKILL");
  }),
  signalled("CRIU hangs for 15 s", "source", "criu swrk", async (_, pid) => {
    await sleep(15_000);
    process.kill(pid, "SIGCONT");
  }),
  signalled("the supervisor killed under CRIU", "source", "criu swrk", async (scene, pid) => {
    await scene.source.signalSupervisor("SIGKILL");
    await poll("the next supervisor", () => scene.pair.answers(scene.source), {
      timeoutMs: 60_000,
    });
    process.kill(pid, "SIGCONT");
  }),
  signalled("CRIU killed", "destination", "criu swrk", async (_, pid) => {
    process.kill(pid, "SIGKILL");
  }),
  signalled("CRIU hangs for 15 s", "destination", "criu swrk", async (_, pid) => {
    await sleep(15_000);
    process.kill(pid, "SIGCONT");
  }),
];

const unsupported: Cell[] = (["", "corked"] as const).map((argument) => ({
  category: "criu",
  fault: argument === "" ? "an MPTCP socket" : "a corked UDP socket",
  state: argument === "" ? "PREPARING" : "dump",
  expect: "aborted",
  ...(argument === "" ? {} : { code: "ERR_CRIU_DUMP_FAILED" }),
  pair: { args: argument === "" ? ["unsupported"] : ["unsupported", argument] },
  // It has no `next`.
  breaksConnection: true,
}));

const budget: Cell[] = [
  {
    category: "timeout",
    fault: "downtime budget of 1 ms",
    state: "FREEZING",
    expect: "aborted",
    code: "ERR_DEADLINE",
    budgetMs: 1,
    isFast: true,
  },
];

/** The inner engine dies; the supervisor starts it again, the containers live on. */
const engines: Cell[] = (
  [
    ["source", "source.do.precopy", "either"],
    ["source", "source.do.dump", "either"],
    ["source", "source.do.kill", "moved"],
    ["destination", "destination.do.provision", "either"],
    ["destination", "destination.do.arm", "either"],
    ["destination", "destination.do.restore", "either"],
    ["destination", "destination.do.thaw", "moved"],
    ["destination", "destination.do.own", "moved"],
  ] as const
).map(([on, point, expect]) =>
  pausedAt({
    category: "engine",
    fault: `kill -9 of the ${on}'s dockerd`,
    on,
    point,
    expect,
    boundMs: 120_000,
    async meanwhile({ side }) {
      const [pid] = await side(on).pidsOf("dockerd --config-file");
      if (pid === undefined) throw new Error("no dockerd");
      process.kill(pid, "SIGKILL");
    },
  }),
);

export const tools: readonly Cell[] = [
  ...restores,
  ...processes,
  ...unsupported,
  ...budget,
  ...engines,
];

async function imagesOf(side: Side): Promise<string> {
  const root = side.path("/run/ums/restore");
  const [id = "none"] = await readdir(root);
  return join(root, id, "images");
}
