import { createHash } from "node:crypto";

/** Names inside the inner engine, where one outer container has one service. */
export const holderName = "ums-holder";
export const serviceName = "ums-service";
export const networkName = "ums";
export const bridgeName = "ums0";
export const holderImage = "ums-pause:latest";

/** Marks what UMS made in the inner engine. */
export const ownLabel = "ums.owner";

/** Name of the inner volume behind an image's VOLUME: the same for every move of the service. */
export function volumeName(destination: string): string {
  return `ums-${createHash("sha256").update(destination).digest("hex").slice(0, 16)}`;
}
