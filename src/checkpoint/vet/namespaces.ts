/**
 * Namespaces: CRIU makes those whose number in ids-*.img differs from inventory.img's `root_ids`
 * and lets a process share its own, the outer container's, where they are equal. So an image could
 * ask to run among the outer container's mounts.
 */
import { type Fields, messageIn, messagesIn, numberIn, textIn } from "../../criu/protobuf.js";
import type { Grants } from "./grants.js";
import { unsafe } from "./unsafe.js";

/** Field of task_kobj_ids_entry (images/core.proto) by OCI's name of the namespace. */
const fields: Record<string, number> = {
  pid: 5,
  network: 6,
  ipc: 7,
  uts: 8,
  mount: 9,
  user: 10,
  cgroup: 11,
  time: 12,
};

/** CRIU gives one to all that it restores, to keep its clocks; it grants nothing else. */
const timeNamespace = "time";

const inventory = { version: 1, rootIds: 3, lsm: 6, networkLock: 11, plugins: 12 };
/** With a magic number at the head of each image. */
const imageVersion = 2;
/** NETWORK_LOCK_SKIP of criu/include/cr_options.h, which runc.conf asks for. */
const noNetworkLock = 2;

/** The namespace id that runc gives CRIU for the holder's network. */
const holderNetworkKey = "extRootNetNS";

/** @returns `root_ids` @throws ERR_CHECKPOINT_UNSAFE */
export function checkInventory(entry: Fields, grants: Grants): Fields {
  if (numberIn(entry, inventory.version) !== imageVersion) {
    throw unsafe("it is of an unknown version of CRIU's images");
  }
  if (numberIn(entry, inventory.networkLock) !== noNetworkLock) {
    throw unsafe("it asks CRIU to unlock a network");
  }
  const hasLsm = (numberIn(entry, inventory.lsm) ?? 0) !== 0;
  if (hasLsm && grants.lsmLabel === undefined) throw unsafe("it has security labels");
  const plugins = messagesIn(entry, inventory.plugins).flatMap((plugin) => [...plugin.keys()]);
  if (plugins.length > 0) throw unsafe("it needs CRIU plugins");
  const rootIds = messageIn(entry, inventory.rootIds);
  if (rootIds === undefined) throw unsafe("it does not say which namespaces are its own");
  return rootIds;
}

/**
 * A process's namespaces: its own where the container has its own, else shared with the outer one,
 * and everywhere the same as the first process's.
 */
export function checkNamespaces(
  pid: number,
  ids: Fields,
  root: Fields,
  first: Fields,
  grants: Grants,
): void {
  for (const [name, field] of Object.entries(fields)) {
    const own = numberIn(ids, field);
    const isOwn = own !== undefined && own !== numberIn(root, field);
    if (name !== timeNamespace && isOwn !== grants.namespaces.includes(name)) {
      throw unsafe(
        isOwn
          ? `process ${pid} has a ${name} namespace of its own`
          : `process ${pid} would run in the outer container's ${name} namespace`,
      );
    }
    if (own !== numberIn(first, field)) {
      throw unsafe(`process ${pid} has another ${name} namespace than process 1`);
    }
  }
}

/** Number of a namespace in the names of its images. */
export function namespaceNumber(ids: Fields, name: "mount" | "network"): number | undefined {
  return numberIn(ids, fields[name] ?? 0);
}

/** Field of netns_entry, images/netdev.proto; the others describe devices and settings to be made. */
const netns = { externalKey: 8 };

/** The network is the holder's: nothing of it is made from the checkpoint. */
export function checkNetwork(entry: Fields): void {
  if (textIn(entry, netns.externalKey) !== holderNetworkKey || entry.size !== 1) {
    throw unsafe("it brings a network of its own");
  }
}
