/** The end of a frozen copy with its outer container. */
import { within } from "../lib/deadline.js";
import type { Logger } from "../lib/log.js";
import type { NestedService } from "../nested/service.js";
import { freezerOf } from "../oci/freezer.js";

const timeoutMs = 5_000;

/**
 * Before the outer container ends: on cgroup v1 a frozen process does not die of SIGKILL, and the
 * engine could neither stop nor remove an outer container that has one (measured, Docker 20.10). It
 * would be lost with the outer container in any case, which the journal expects.
 */
export async function endFrozen(service: NestedService, log: Logger): Promise<void> {
  const end = async () => {
    const container = await service.inspect();
    if (container === undefined || !container.State.Running) return;
    const freezer = await freezerOf(container.State.Pid);
    if (!(await freezer.isFrozen())) return;
    log.warn({ containerId: container.Id }, "the frozen copy ends with the outer container");
    await freezer.killFrozen();
  };
  // The engine answers no question about a container at its restore gate; that has no process yet.
  await within(timeoutMs, "the end of a frozen copy", end()).catch((error: unknown) => {
    log.warn({ err: error }, "a frozen copy may be left");
  });
}
