import {
  config,
  core,
  creds,
  goodFiles,
  mount,
  mounts,
  openFile,
  refuses,
  vet,
} from "../../lib/checkpoint-files.js";
import { changed, image, type Message } from "../../lib/criu-images.js";
import { suite } from "../../lib/suite.js";

const test = suite("vetting of a checkpoint's surroundings");

test("refuses a network of its own", async () => {
  await refuses(/network/, { "netns-16.img": image("netns", []) });
  const extra: Message = [
    [8, "extRootNetNS"],
    [1, 5],
  ];
  await refuses(/network/, { "netns-16.img": image("netns", extra) });
  await refuses(/exactly one netns/, { "netns-17.img": image("netns", [[8, "extRootNetNS"]]) });
});

test("refuses messages to the kernel that are no tracked connection", async () => {
  const message = (type: number, bytes = 24, claimed = bytes) => {
    const buffer = Buffer.alloc(bytes);
    buffer.writeUInt32LE(claimed);
    buffer.writeUInt16LE(type, 4);
    buffer[16] = 2;
    return buffer;
  };
  await vet({ "netns-ct-16.img": Buffer.concat([message(0x100), message(0x100, 40)]) });
  await refuses(/no tracked/, { "netns-ct-16.img": message(0xa06) });
  await refuses(/no tracked/, { "netns-exp-16.img": message(0x102) });
  await refuses(/malformed/, { "netns-ct-16.img": message(0x100, 24, 8) });
  await refuses(/malformed/, { "netns-ct-16.img": message(0x100, 24, 4000) });
});

const mountpoints = (...entries: Message[]) => ({
  "mountpoints-19.img": image("mountpoints", ...entries),
});
const without = (path: string) =>
  mounts.filter((entry) => !entry.some(([number, value]) => number === 7 && value === path));

for (const [what, entry] of [
  ["a directory of the outer container", mount(9, "/mnt", 0, 0, [[18, "/data"]])],
  ["one without a key, bound by its device", mount(9, "/mnt", 0, 0)],
  ["another overlay", mount(9, "/mnt", 17, 0, [[9, "lowerdir=/etc"]])],
  ["a tmpfs that the container does not have", mount(9, "/mnt", 5, 2)],
  ["another cgroup hierarchy", mount(9, "/sys/fs/cgroup", 12, 15, [[18, "/sys/fs/cgroup"]])],
  ["a file system of the kernel", mount(9, "/mnt", 11, 0)],
  ["a plugin's", mount(9, "/mnt", 5, 2, [[12, 1]])],
  ["a second one at the same place", mount(9, "/data", 0, 1, [[18, "/data"]])],
] as [string, Message][]) {
  test(`refuses a further mount: ${what}`, () => refuses(/mount/, mountpoints(...mounts, entry)));
}

for (const [what, path, entry] of [
  ["writable", "/data", mount(5, "/data", 0, 0, [[18, "/data"]])],
  ["from another place outside", "/data", mount(5, "/data", 0, 1, [[18, "/etc/shadow"]])],
  ["writable /sys", "/sys", mount(4, "/sys", 2, 14)],
  ["devices allowed in /proc", "/proc", mount(2, "/proc", 1, 10, [[3, 2]])],
  [
    "a part of /proc",
    "/proc",
    mount(2, "/proc", 1, 14, [
      [3, 2],
      [6, "/1"],
    ]),
  ],
  ["another file system", "/dev", mount(3, "/dev", 3, 2)],
  ["larger", "/dev", mount(3, "/dev", 5, 2, [[9, "size=9g"]])],
  ["without a limit", "/dev", mount(3, "/dev", 5, 2, [[9, ""]])],
  [
    "writable /proc/sys",
    "/proc/sys",
    mount(7, "/proc/sys", 1, 14, [
      [3, 2],
      [6, "/sys"],
    ]),
  ],
  [
    "other part of /proc",
    "/proc/sys",
    mount(7, "/proc/sys", 1, 15, [
      [3, 2],
      [6, "/bus"],
    ]),
  ],
  [
    "other file system's",
    "/proc/sys",
    mount(7, "/proc/sys", 1, 15, [
      [3, 9],
      [6, "/sys"],
    ]),
  ],
  ["mask that hides nothing", "/proc/kcore", mount(6, "/proc/kcore", 1, 1, [[6, "/kcore"]])],
  ["root from outside", "/", mount(1, "/", 17, 0, [[18, "/"]])],
  ["root of another kind", "/", mount(1, "/", 0, 0)],
] as [string, string, Message][]) {
  test(`refuses a mount of the container's that is different: ${what}`, () =>
    refuses(/not the container's own/, mountpoints(...without(path), entry)));
}

test("refuses that what is hidden or read-only here is not", async () => {
  await refuses(/\/proc\/kcore is hidden/, mountpoints(...without("/proc/kcore")));
  await refuses(/\/proc\/sys is hidden/, mountpoints(...without("/proc/sys")));
  await refuses(/\/data is missing/, mountpoints(...without("/data")));
});

test("refuses a writable root where it is read-only here", () =>
  refuses(/writable/, {}, { ...config, root: { readonly: true } }));

for (const [what, entry] of [
  [
    "a namespace",
    [
      [1, 14],
      [2, 1],
      [5, [[1, 1]]],
    ],
  ],
  [
    "a file from outside",
    [
      [1, 1],
      [2, 1],
      [
        3,
        [
          [6, "/x"],
          [9, 1],
        ],
      ],
    ],
  ],
  [
    "a plugin's file",
    [
      [1, 16],
      [2, 1],
    ],
  ],
  [
    "a TUN device",
    [
      [1, 15],
      [2, 1],
    ],
  ],
  [
    "a BPF map",
    [
      [1, 19],
      [2, 1],
    ],
  ],
  [
    "one of an unknown kind",
    [
      [1, 99],
      [2, 1],
    ],
  ],
  [
    "a name that leads upwards",
    [
      [1, 1],
      [2, 1],
      [3, [[6, "/a/../../etc/shadow"]]],
    ],
  ],
  [
    "a socket whose name leads upwards",
    [
      [1, 5],
      [2, 1],
      [16, [[11, "../run/docker.sock"]]],
    ],
  ],
] as [string, Message][]) {
  test(`refuses an open file that is ${what}`, () =>
    refuses(/open file/, { "files.img": image("files", openFile, entry) }));
}

test("lets a packet socket pass with the capability for it alone", async () => {
  const files = {
    "files.img": image("files", [
      [1, 10],
      [2, 1],
    ]),
  };
  await vet(files);
  const bounding = ["CAP_CHOWN", "CAP_KILL"];
  const few = { ...config, process: { capabilities: { bounding } } };
  const fewer = core(changed(creds, { 10: 0, 11: 0, 12: 0 }));
  await refuses(/open file/, { ...files, "core-1.img": fewer, "core-2.img": fewer }, few);
});

test("refuses deleted files that would be made devices or setuid", async () => {
  const ghost = (mode: number) => ({ "ghost-file-1.img": image("ghost-file", [[3, mode]]) });
  await vet(ghost(0o100644));
  await refuses(/device/, ghost(0o060600));
  await refuses(/device/, ghost(0o020600));
  await refuses(/setuid/, ghost(0o104755));
});

test("refuses what is no image, or cut off", async () => {
  const good = goodFiles()["core-1.img"] ?? Buffer.alloc(0);
  await refuses(/malformed/, { "core-1.img": good.subarray(0, good.length - 1) });
  await refuses(/malformed/, { "core-1.img": Buffer.concat([good, good.subarray(8)]) });
  await refuses(/malformed/, { "core-1.img": good.subarray(4) });
  await refuses(/malformed/, { "inventory.img": Buffer.alloc(0) });
  await refuses(/missing/, { "seccomp.img": undefined });
});

test.run();
