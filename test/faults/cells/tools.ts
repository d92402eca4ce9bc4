/** CRIU, the inner engine and its helpers fail, hang or die. */
import { readdir, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { poll, sleep } from "../../../src/lib/deadline.js";
import type { Cell, Role, Scene } from "../cell.js";
import { faultDirectory, type Side } from "../side.js";
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

/** CRIU stops a moment after it has begun; then `happens`. */
const stopped = (
  fault: string,
  on: Role,
  happens: (scene: Scene, signal: (name: string) => Promise<void>) => Promise<void>,
): Cell => ({
  category: "criu",
  fault,
  state: on === "source" ? "in the dump" : "in the restore",
  expect: "aborted",
  pair: large,
  budgetMs,
  before: ({ side }) => stopCriu(side(on)),
  async act(scene) {
    const side = scene.side(on);
    await side.reached("criu");
    const pid = await readFile(side.path(`${faultDirectory}/criu.reached`), "utf8");
    await happens(scene, async (name) => {
      await side.enter(["sh", "-c", `kill -${name} ${Number(pid)}`]);
    });
  },
});

const processes: Cell[] = (["source", "destination"] as const).flatMap((on) => [
  stopped("CRIU killed", on, (_, signal) => signal("KILL")),
  stopped("CRIU hangs for 15 s", on, async (_, signal) => {
    await sleep(15_000);
    await signal("CONT");
  }),
  stopped(`the ${on}'s supervisor killed under CRIU`, on, async ({ pair, side }, signal) => {
    const before = await side(on).supervisorPid();
    await side(on).signalSupervisor("SIGKILL");
    const isAnew = async () => (await side(on).supervisorPid()) !== before;
    await poll("the next supervisor", isAnew, { timeoutMs: 60_000 });
    // It may wait for this CRIU, which goes on only later.
    await sleep(3_000);
    await signal("CONT");
    await poll("the supervisor answers", () => pair.answers(side(on)), { timeoutMs: 60_000 });
  }),
]);

/** A wrapper in the outer container, which the pair of this cell alone has. */
async function stopCriu(side: Side): Promise<void> {
  const path = side.path("/usr/local/sbin/criu");
  const marks = faultDirectory;
  const [, ...rest] = (await readFile(path, "utf8")).split("\n");
  const stop = [
    `if [ "$1" = swrk ] && mv ${marks}/criu ${marks}/criu.taken 2>/dev/null; then`,
    `  (sleep 0.1; kill -STOP $$; echo $$ >${marks}/criu.new; mv ${marks}/criu.new ${marks}/criu.reached) \\`,
    "    </dev/null >/dev/null 2>&1 &",
    "fi",
  ];
  await writeFile(path, ["#!/bin/sh", ...stop, ...rest].join("\n"));
  await side.arm({ point: "criu", action: "stop" });
}

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
