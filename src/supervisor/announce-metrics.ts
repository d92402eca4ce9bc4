import { Gauge, type Registry } from "prom-client";
import type { Announcer } from "./announce.js";

/** What of the service's new place is told, one series a target (`dns`, `webhook`). */
export function announceMetrics(registry: Registry, announcer: Announcer): void {
  new Gauge({
    name: "ums_announce_pending",
    help: "1 while the new place of a service that has arrived is not told yet.",
    labelNames: ["target"],
    registers: [registry],
    collect() {
      for (const { target, isPending } of announcer.states()) this.set({ target }, +isPending);
    },
  });
  new Gauge({
    name: "ums_announce_failures",
    help: "Failed tries to tell the new place of a service, since this supervisor began.",
    labelNames: ["target"],
    registers: [registry],
    collect() {
      for (const { target, failures } of announcer.states()) this.set({ target }, failures);
    },
  });
}
