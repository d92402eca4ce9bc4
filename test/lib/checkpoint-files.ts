/** A small checkpoint that passes, and the container configuration it fits, for tests of the vetting. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { grantsOf } from "../../src/checkpoint/vet/grants.js";
import { vetCheckpoint } from "../../src/checkpoint/vet/vet.js";
import type { OciConfig } from "../../src/oci/bundle.js";
import { image, type Message } from "./criu-images.js";
import { rejectsWith } from "./errors.js";
import { withDirectory } from "./temporary.js";

/** As dockerd's: capabilities, a profile, the usual mounts and one volume. */
export const config: OciConfig = {
  process: { capabilities: { bounding: ["CAP_CHOWN", "CAP_KILL", "CAP_NET_RAW"] } },
  mounts: [
    { destination: "/proc", type: "proc", options: ["nosuid", "noexec", "nodev"] },
    { destination: "/dev", type: "tmpfs", options: ["nosuid", "mode=755", "size=65536k"] },
    { destination: "/sys", type: "sysfs", options: ["nosuid", "noexec", "nodev", "ro"] },
    { destination: "/data", type: "bind", options: ["rbind", "ro"] },
  ],
  linux: {
    namespaces: ["mount", "network", "uts", "pid", "ipc"].map((type) => ({ type })),
    maskedPaths: ["/proc/kcore", "/proc/asound"],
    readonlyPaths: ["/proc/sys"],
    seccomp: {
      defaultAction: "SCMP_ACT_ERRNO",
      architectures: ["SCMP_ARCH_X86_64"],
      syscalls: [
        { names: ["read"], action: "SCMP_ACT_ALLOW" },
        {
          names: ["personality"],
          action: "SCMP_ACT_ALLOW",
          args: [{ index: 0, value: 8, op: "SCMP_CMP_EQ" }],
        },
      ],
    },
  },
};

/** Bits of CHOWN, KILL and NET_RAW. */
const granted = 0x2021;

export const creds: Message = [
  ...[1, 2, 3, 4, 5, 6, 7, 8].map((number): Message[number] => [number, 0]),
  ...[10, 11, 12].flatMap(
    (number): Message => [
      [number, granted],
      [number, 0],
    ],
  ),
  [13, 0],
];

/** `values` replace fields of the credentials, `ofThread` those of the thread. */
export function core(credentials: Message = creds, ofThread: Message = seccompOn): Buffer {
  return image("core", [
    [1, 1],
    [
      3,
      [
        [1, 1],
        [2, 0],
        [3, 0],
        [4, 0],
        [5, 0],
        [6, "x"],
      ],
    ],
    [5, [[1, 0], [2, 0], [10, credentials], ...ofThread]],
  ]);
}

const seccompOn: Message = [
  [11, 2],
  [12, 0],
];

type Instruction = [code: number, jt: number, jf: number, k: number];

/** A filter's instructions as the kernel has them. */
export function program(...instructions: Instruction[]): Buffer {
  return Buffer.concat(
    instructions.map(([code, jt, jf, k]) => {
      const bytes = Buffer.alloc(8);
      bytes.writeUInt16LE(code);
      bytes[2] = jt;
      bytes[3] = jf;
      bytes.writeUInt32LE(k, 4);
      return bytes;
    }),
  );
}

export const allow = 0x7fff0000;
export const deny = 0x00050001;

/** x86_64 only; read always, personality with 8: what the configuration's profile says. */
export const strictFilter = program(
  [0x20, 0, 0, 4],
  [0x15, 0, 8, 0xc000003e],
  [0x20, 0, 0, 0],
  [0x15, 5, 0, 0],
  [0x15, 0, 5, 135],
  [0x20, 0, 0, 20],
  [0x15, 0, 3, 0],
  [0x20, 0, 0, 16],
  [0x15, 0, 1, 8],
  [0x06, 0, 0, allow],
  [0x06, 0, 0, deny],
);

/** Numbers of fields: type, device, flags, root, mount point, options, external key. */
export function mount(
  id: number,
  mountPoint: string,
  fsType: number,
  flags: number,
  more: Message = [],
): Message {
  const standard: Message = [
    [1, fsType],
    [2, id],
    [3, id === 7 ? 2 : 100 + id],
    [4, 1],
    [5, flags],
    [6, "/"],
    [7, mountPoint],
    [8, "none"],
    [9, mountPoint === "/dev" ? "size=65536k,mode=755" : ""],
  ];
  const replaced = new Set(more.map(([number]) => number));
  return [...standard.filter(([number]) => !replaced.has(number)), ...more];
}

const namespaceIds: Message = [5, 6, 7, 8, 9].map((number) => [number, number + 10]);
const sharedIds: Message = [
  [10, 7],
  [11, 8],
  [12, 5],
];

export const ids: Message = [[1, 2], [2, 2], [3, 2], [4, 2], ...namespaceIds, ...sharedIds];
export const rootIds: Message = [
  ...[1, 2, 3, 4, 5, 6, 7, 8, 9].map((number): Message[number] => [number, 1]),
  ...sharedIds,
];
export const inventory: Message = [
  [1, 2],
  [3, rootIds],
  [11, 2],
];

export const mounts: Message[] = [
  mount(1, "/", 17, 0),
  mount(2, "/proc", 1, 14, [[3, 2]]),
  mount(3, "/dev", 5, 2),
  mount(4, "/sys", 2, 15),
  mount(5, "/data", 0, 1, [[18, "/data"]]),
  mount(6, "/proc/kcore", 5, 2, [
    [6, "/null"],
    [18, "/dev/null"],
  ]),
  mount(7, "/proc/sys", 1, 15, [
    [3, 2],
    [6, "/sys"],
  ]),
];

export const openFile: Message = [
  [1, 1],
  [2, 1],
  [
    3,
    [
      [1, 1],
      [6, "/bin/x"],
    ],
  ],
];

export function goodFiles(): Record<string, Buffer> {
  return {
    "inventory.img": image("inventory", inventory),
    "pstree.img": image("pstree", [
      [1, 1],
      [2, 0],
      [3, 1],
      [4, 1],
      [5, 1],
      [5, 2],
    ]),
    "core-1.img": core(),
    "core-2.img": core(),
    "ids-1.img": image("ids", ids),
    "seccomp.img": image("seccomp", [[1, [[1, strictFilter]]]]),
    "mountpoints-19.img": image("mountpoints", ...mounts),
    "netns-16.img": image("netns", [[8, "extRootNetNS"]]),
    "files.img": image("files", openFile),
    "descriptors.json": Buffer.from('["/dev/null","pipe:[1]","pipe:[2]"]'),
  };
}

/** Vets the good checkpoint with some files replaced, or taken out by undefined. */
export async function vet(
  changes: Record<string, Buffer | undefined> = {},
  changedConfig: OciConfig = config,
): Promise<void> {
  await withDirectory(async (directory) => {
    const files = { ...goodFiles(), ...changes };
    for (const [name, content] of Object.entries(files)) {
      if (content !== undefined) await writeFile(join(directory, name), content);
    }
    await vetCheckpoint({
      imagesDir: directory,
      names: Object.keys(files).filter((name) => files[name] !== undefined),
      grants: grantsOf(changedConfig, "x64"),
      // /proc/asound is not on this machine.
      isHere: async (path) => path !== "/proc/asound",
    });
  });
}

/** Expects the checkpoint with these changes to be refused for this reason. */
export async function refuses(
  reason: RegExp,
  changes: Record<string, Buffer | undefined>,
  changedConfig?: OciConfig,
): Promise<void> {
  const error = await rejectsWith("ERR_CHECKPOINT_UNSAFE", vet(changes, changedConfig));
  assert.match(error.message, reason);
}
