import type { OciConfig } from "../../../src/oci/bundle.js";
import {
  allow,
  config,
  core,
  creds,
  deny,
  ids,
  inventory,
  program,
  refuses,
  rootIds,
  strictFilter,
  vet,
} from "../../lib/checkpoint-files.js";
import { changed, image, type Message } from "../../lib/criu-images.js";
import { suite } from "../../lib/suite.js";

const test = suite("vetting of a checkpoint");

test("lets a good one pass", () => vet());

/** CAP_SYS_ADMIN, bit 21. */
const sysAdmin = 0x200000;

for (const [field, name] of [
  [9, "inheritable"],
  [10, "permitted"],
  [11, "effective"],
  [12, "bounding"],
  [19, "ambient"],
] as const) {
  test(`refuses ${name} capabilities beyond the container's`, () =>
    refuses(/SYS_ADMIN/, { "core-1.img": core(changed(creds, { [field]: sysAdmin })) }));
}

test("refuses them in a thread that is not the first", () =>
  refuses(/thread 2 has SYS_ADMIN/, { "core-2.img": core(changed(creds, { 10: sysAdmin })) }));

test("refuses a packed list of capabilities as well as a plain one", () =>
  refuses(/SYS_ADMIN/, {
    "core-1.img": core(changed(creds, { 10: Buffer.from([0x80, 0x80, 0x80, 0x01, 0x00]) })),
  }));

test("refuses capabilities that no kernel has", () =>
  refuses(/capability 63/, {
    "core-1.img": core([...changed(creds, { 10: undefined }), [10, 0], [10, 0x80000000]]),
  }));

test("refuses a field that is there twice, which parsers read differently", () =>
  refuses(/twice/, {
    "core-1.img": core(creds, [
      [11, 2],
      [12, 0],
      [10, creds],
    ]),
  }));

test("refuses a thread without credentials", () =>
  refuses(/no credentials/, {
    "core-1.img": image("core", [
      [1, 1],
      [3, [[1, 1]]],
      [
        5,
        [
          [11, 2],
          [12, 0],
        ],
      ],
    ]),
  }));

test("lets a zombie have none", async () => {
  const tree: Message[] = [
    [
      [1, 1],
      [2, 0],
      [5, 1],
    ],
    [
      [1, 2],
      [2, 1],
      [5, 2],
    ],
  ];
  await vet({
    "pstree.img": image("pstree", ...tree),
    "core-2.img": image("core", [
      [1, 1],
      [3, [[1, 2]]],
    ]),
  });
});

test("refuses that privileges may be gained where the container forbids it", async () => {
  const strict: OciConfig = { ...config, process: { ...config.process, noNewPrivileges: true } };
  await refuses(/may gain privileges/, {}, strict);
  const bound = core([...creds, [18, 1]]);
  await vet({ "core-1.img": bound, "core-2.img": bound }, strict);
});

test("refuses another security label than the container's", async () => {
  await refuses(/label/, { "core-1.img": core([...creds, [15, "docker-default"]]) });
  const labelled = { ...config, process: { ...config.process, apparmorProfile: "docker-default" } };
  await refuses(/label/, {}, labelled);
});

test("refuses unknown securebits", () =>
  refuses(/securebits/, { "core-1.img": core(changed(creds, { 13: 0x100 })) }));

test("refuses real-time scheduling without the capability for it", () =>
  refuses(/real-time/, {
    "core-1.img": core(creds, [
      [11, 2],
      [12, 0],
      [4, 1],
    ]),
  }));

test("refuses seccomp switched off, or on where only older CRIUs look", async () => {
  await refuses(/without the seccomp filter/, { "core-2.img": core(creds, [[11, 0]]) });
  await refuses(/without the seccomp filter/, { "core-2.img": core(creds, []) });
  const leaderOnly = core(creds, []);
  const shared = filters([
    [1, strictFilter],
    [3, 1],
  ]);
  await vet({ "core-2.img": leaderOnly, "seccomp.img": shared });
  await refuses(/without the seccomp filter/, { "core-1.img": leaderOnly, "seccomp.img": shared });
  await refuses(/older CRIUs/, {
    "core-1.img": image("core", [
      [1, 1],
      [
        3,
        [
          [1, 1],
          [11, 2],
        ],
      ],
      [5, [[10, creds]]],
    ]),
  });
  const without = { ...config, linux: { ...config.linux } };
  delete without.linux.seccomp;
  await vet({ "core-2.img": core(creds, [[11, 0]]) }, without);
});

const filters = (...chain: Message[]) =>
  image(
    "seccomp",
    chain.map((filter): Message[number] => [1, filter]),
  );

test("refuses a filter that lets through what the profile withholds", async () => {
  const open = program([0x06, 0, 0, allow]);
  await refuses(/lets through/, { "seccomp.img": filters([[1, open]]) });
  // Only the calls of 32-bit programs, which the profile does not have at all.
  const i386 = program(
    [0x20, 0, 0, 4],
    [0x15, 1, 0, 0x40000003],
    [0x06, 0, 0, deny],
    [0x06, 0, 0, allow],
  );
  await refuses(/SCMP_ARCH_X86\)/, { "seccomp.img": filters([[1, i386]]) });
  // personality, with any argument.
  const anyArgument = program(
    [0x20, 0, 0, 4],
    [0x15, 0, 3, 0xc000003e],
    [0x20, 0, 0, 0],
    [0x15, 0, 1, 135],
    [0x06, 0, 0, allow],
    [0x06, 0, 0, deny],
  );
  await refuses(/personality/, { "seccomp.img": filters([[1, anyArgument]]) });
});

test("lets a stricter filter pass, and further ones on top of it", async () => {
  await vet({ "seccomp.img": filters([[1, program([0x06, 0, 0, deny])]]) });
  const open = program([0x06, 0, 0, allow]);
  const top = core(creds, [
    [11, 2],
    [12, 1],
  ]);
  const chain = filters(
    [[1, strictFilter]],
    [
      [1, open],
      [2, 0],
    ],
  );
  await vet({ "seccomp.img": chain, "core-1.img": top });
  const wrongWay = filters(
    [[1, open]],
    [
      [1, strictFilter],
      [2, 0],
    ],
  );
  await refuses(/lets through/, { "seccomp.img": wrongWay, "core-1.img": top });
});

test("refuses chains of filters that do not end or are not there", async () => {
  await refuses(/does not end/, {
    "seccomp.img": filters([
      [1, strictFilter],
      [2, 0],
    ]),
  });
  await refuses(/no seccomp filter 5/, {
    "core-1.img": core(creds, [
      [11, 2],
      [12, 5],
    ]),
  });
  await refuses(/malformed/, { "seccomp.img": filters([[1, Buffer.alloc(7)]]) });
});

for (const name of [
  "netdev-16.img",
  "route-16.img",
  "iptables-16.img",
  "nftables-16.img",
  "userns-7.img",
  "pidns-15.img",
  "apparmor.img",
  "ext-files.img",
  "tunfile.img",
  "ns-files.img",
  "autofs-3.img",
  "creds-1.img",
  "core-1.img.img",
  "core-x.img",
  "irmap-cache.img",
]) {
  test(`refuses a file of the kind of ${name}`, () =>
    refuses(/kind that no service/, { [name]: Buffer.alloc(8) }));
}

test("refuses images of processes that are not in the tree, and a tree without images", async () => {
  await refuses(/no process in the tree/, { "core-9.img": core() });
  await refuses(/no core image/, { "core-2.img": undefined });
  const stray: Message[] = [
    [
      [1, 1],
      [2, 0],
      [5, 1],
    ],
    [
      [1, 2],
      [2, 0],
      [5, 2],
    ],
  ];
  await refuses(/first process/, { "pstree.img": image("pstree", ...stray) });
});

for (const [field, name] of [
  [5, "pid"],
  [6, "network"],
  [9, "mount"],
] as const) {
  test(`refuses to run in the outer container's ${name} namespace`, async () => {
    await refuses(/outer container's/, { "ids-1.img": image("ids", changed(ids, { [field]: 1 })) });
    const absent = changed(ids, { [field]: undefined });
    await refuses(/outer container's/, { "ids-1.img": image("ids", absent) });
  });
}

test("refuses a user namespace of its own", () =>
  refuses(/user namespace of its own/, { "ids-1.img": image("ids", changed(ids, { 10: 77 })) }));

test("lets a time namespace of its own pass, which a service has that was restored before", () =>
  vet({ "ids-1.img": image("ids", changed(ids, { 12: 77 })) }));

test("refuses a process in other namespaces than the first", async () => {
  const tree: Message[] = [
    [
      [1, 1],
      [2, 0],
      [5, 1],
    ],
    [
      [1, 2],
      [2, 1],
      [5, 2],
    ],
  ];
  const files = { "pstree.img": image("pstree", ...tree) };
  await vet({ ...files, "ids-2.img": image("ids", ids) });
  const other = image("ids", changed(ids, { 9: 50 }));
  await refuses(/another mount namespace/, { ...files, "ids-2.img": other });
});

test("refuses an inventory of another version, with plugins, labels or a network lock", async () => {
  const inventoryWith = (values: Parameters<typeof changed>[1]) => ({
    "inventory.img": image("inventory", changed(inventory, values)),
  });
  await refuses(/version/, inventoryWith({ 1: 1 }));
  await refuses(/plugins/, inventoryWith({ 12: [[12, "x.so"]] }));
  await refuses(/labels/, inventoryWith({ 6: 2 }));
  await refuses(/network/, inventoryWith({ 11: 1 }));
  await refuses(/outer container's mount/, inventoryWith({ 3: changed(rootIds, { 9: 19 }) }));
});

test.run();
