/**
 * What every outer container needs of its platform, and what is therefore not part of a
 * {@link WorkloadSpec}: drivers leave it out when they read and put their own in when they create.
 */

/** State of the supervisor, and of the inner engine: neither may lie on the container's own layer. */
export const statePath = "/var/lib/ums";
export const enginePath = "/var/lib/docker";
/** Certificates of this peer. */
export const tlsPath = "/etc/ums/tls";

const platformPaths: readonly string[] = [statePath, enginePath, tlsPath];

/** True for a mount that belongs to the platform. */
export function isPlatformPath(target: string): boolean {
  return platformPaths.includes(target.replace(/(.)\/+$/, "$1"));
}

/** Of every outer image. */
export const outerImageLabel = "ums.outer";
/** Of what a Coordinator made: the service's name, and the id of the migration it was made for. */
export const serviceLabel = "ums.service";
export const migrationLabel = "ums.migration";

/**
 * First of the three ports of the machine at which the supervisor is published: Migration Interface,
 * HTTP and data channel, under the same numbers inside. Only where the driver was told a range.
 */
export const portsLabel = "ums.ports";
export const supervisorPortCount = 3;

/** Ports of the supervisor, unless the variables say otherwise. */
export const defaultPeerPort = 9750;
export const defaultHttpPort = 9751;
