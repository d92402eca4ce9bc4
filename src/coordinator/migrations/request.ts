/** What a request means for the specification that goes to the destination. Pure. */
import { UmsError } from "../../errors.js";
import type { WorkloadSpec } from "../../orchestrators/workload.js";
import type { MigrationRequest } from "./record.js";

/** @throws ERR_SPEC_INVALID when a port is named that the service does not have */
export function destinationSpec(spec: WorkloadSpec, request: MigrationRequest): WorkloadSpec {
  const { name = spec.name, ports: wanted = {} } = request.destination;
  const known = new Set(spec.ports.map(({ port, protocol }) => `${port}/${protocol}`));
  const unknown = Object.keys(wanted).filter((port) => !known.has(port));
  if (unknown.length > 0) {
    throw new UmsError("ERR_SPEC_INVALID", `the service has no port ${unknown.join(", ")}`, {
      hint: `it has ${[...known].join(", ") || "none"}`,
    });
  }
  const ports = spec.ports.map((port) => {
    const published = wanted[`${port.port}/${port.protocol}`];
    return published === undefined ? port : { ...port, published };
  });
  return { ...spec, name, ports };
}
