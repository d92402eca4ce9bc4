/** The relay's and the hold's part of /metrics. */
import { Gauge, type Registry } from "prom-client";
import type { TrafficStatus } from "../migration/view.js";

export function registerTrafficMetrics(
  registry: Registry,
  traffic: () => Promise<TrafficStatus>,
): void {
  const gauges = {
    relayedFlows: ["ums_relay_flows", "Conversations relayed to where the service has gone."],
    queuePackets: ["ums_hold_queue_packets", "Packets that wait for a frozen service at most."],
    droppedPackets: ["ums_hold_dropped_packets", "Packets dropped because that queue was full."],
  } as const;
  for (const [field, [name, help]] of Object.entries(gauges)) {
    new Gauge({
      name,
      help,
      registers: [registry],
      async collect() {
        this.set((await traffic())[field as keyof typeof gauges]);
      },
    });
  }
}
