/** Open files, from files.img, and the deleted ones that come with their content (ghost files). */
import { bytesIn, type Fields, messageIn, numberIn } from "../../criu/protobuf.js";
import { hasCapability } from "./capabilities.js";
import type { Grants } from "./grants.js";
import { unsafe } from "./unsafe.js";

/** Of file_entry and fd_types, images/fdinfo.proto. */
const field = { type: 1, regular: 3, unix: 16 };
const regular = { name: 6, external: 9 };
const unix = { name: 11, directory: 14 };
const ghost = { mode: 3 };

/** A regular file, pipe, FIFO, socket, eventfd, epoll, inotify, signalfd, terminal, timerfd ... */
const plainTypes = [1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 13, 17, 18, 20];
/** What a service can have opened only with a capability: packet socket, fanotify, TUN device. */
const privilegedTypes: Record<number, string> = { 10: "NET_RAW", 12: "SYS_ADMIN", 15: "NET_ADMIN" };

const fileTypeMask = 0o170000;
const deviceTypes = [0o020000, 0o060000];
const setIdBits = 0o6000;

/**
 * Files that are a door to something outside are refused: a namespace's own file (it would be
 * opened as the outer container's), what comes from outside or from a plugin, BPF objects.
 * @throws ERR_CHECKPOINT_UNSAFE
 */
export function checkOpenFile(entry: Fields, grants: Grants): void {
  const type = numberIn(entry, field.type) ?? 0;
  const capability = privilegedTypes[type];
  const isGranted = capability !== undefined && hasCapability(grants.bounding, capability);
  if (!plainTypes.includes(type) && !isGranted) {
    throw unsafe(`an open file is of a kind that no service of this container has (${type})`);
  }
  const file = messageIn(entry, field.regular);
  if (file !== undefined) {
    if ((numberIn(file, regular.external) ?? 0) !== 0) throw unsafe("an open file is external");
    checkPath(bytesIn(file, regular.name));
  }
  const socket = messageIn(entry, field.unix);
  if (socket === undefined) return;
  const name = bytesIn(socket, unix.name);
  // An abstract name begins with a NUL and leads nowhere.
  if (name?.[0] !== 0) checkPath(name);
  checkPath(bytesIn(socket, unix.directory));
}

function checkPath(path: Buffer | undefined): void {
  if (path?.toString("latin1").split("/").includes("..") !== true) return;
  throw unsafe(`the name of an open file leads upwards: ${path.toString("utf8").slice(0, 200)}`);
}

/** CRIU makes a ghost file by its mode: it could be a device, or run as another user. */
export function checkGhostFile(name: string, entry: Fields): void {
  const mode = numberIn(entry, ghost.mode) ?? 0;
  if (deviceTypes.includes(mode & fileTypeMask)) throw unsafe(`${name} is a device`);
  if ((mode & setIdBits) !== 0 && (mode & fileTypeMask) !== 0o040000) {
    throw unsafe(`${name} has a setuid or setgid bit`);
  }
}
