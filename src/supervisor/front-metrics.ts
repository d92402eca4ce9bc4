/** The Frontman's part of /metrics. */
import { Counter, Gauge, type Registry } from "prom-client";
import type { FrontmanStats } from "../frontman/frontman.js";

/** @param stats by the service's port */
export function registerFrontMetrics(
  registry: Registry,
  stats: () => Map<number, FrontmanStats>,
): void {
  new Gauge({
    name: "ums_frontman_held_connections",
    help: "Connections that wait in the Frontman for the service.",
    labelNames: ["port"],
    registers: [registry],
    collect() {
      for (const [port, { held }] of stats()) this.set({ port }, held);
    },
  });
  new Gauge({
    name: "ums_frontman_forwarded_connections",
    help: "Connections that the Frontman passes on now.",
    labelNames: ["port"],
    registers: [registry],
    collect() {
      for (const [port, { forwarded }] of stats()) this.set({ port }, forwarded);
    },
  });
  new Counter({
    name: "ums_frontman_actions_total",
    help: "Connections and requests that came to the Frontman, by what it did with them.",
    labelNames: ["port", "action"],
    registers: [registry],
    collect() {
      this.reset();
      for (const [port, { actions }] of stats()) {
        for (const [action, count] of Object.entries(actions)) this.inc({ port, action }, count);
      }
    },
  });
}
