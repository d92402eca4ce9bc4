import { unsafe } from "./unsafe.js";

/** struct nlmsghdr and struct nfgenmsg, linux/netlink.h and linux/netfilter/nfnetlink.h. */
const headerBytes = 20;
const familyOffset = 16;
const families = [2, 10];
/**
 * Subsystem << 8 | command: IPCTNL_MSG_CT_NEW and IPCTNL_MSG_EXP_NEW. CRIU 4.2.1 writes the
 * connections into both images (measured).
 */
const newEntries = [0x0100, 0x0200];

/**
 * netns-ct and netns-exp: connection tracking of the service's network, as netlink messages that
 * CRIU sends to the kernel as they are. Only new entries of that kind may be in it: another message
 * would be obeyed too (a packet filter's, for one), and a wrong length is not noticed by CRIU.
 */
export function checkConntrack(kind: "netns-ct" | "netns-exp", image: Buffer): void {
  for (let offset = 0; offset < image.length; ) {
    const rest = image.length - offset;
    const bytes = rest < headerBytes ? 0 : image.readUInt32LE(offset);
    if (bytes < headerBytes || bytes > rest) throw unsafe(`its ${kind} image is malformed`);
    const type = image.readUInt16LE(offset + 4);
    const family = image.readUInt8(offset + familyOffset);
    if (!newEntries.includes(type) || !families.includes(family)) {
      throw unsafe(`its ${kind} image has a message to the kernel that is no tracked connection`);
    }
    offset += bytes;
  }
}
