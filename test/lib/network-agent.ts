/** What a supervisor does with the network, callable from a test in another namespace. */
import { once } from "node:events";
import { connect, createServer } from "node:net";
import { countFlows, listFlows } from "../../src/network/flows.js";
import { type Hold, openHold } from "../../src/network/hold.js";
import { type Inlet, openInlet } from "../../src/network/inlet.js";
import { openPublish } from "../../src/network/publish.js";
import { openRules, type Rules } from "../../src/network/rules.js";
import type { Flow, Port } from "../../src/network/ruleset.js";
import { serveAgent, serviceAddress, serviceBridge } from "./netns.js";

let rules: Rules;
let hold: Hold;
const inlets = new Map<number, Inlet>();

serveAgent({
  open: async (outerAddress: string, queuePackets: number) => {
    rules = await openRules({ address: serviceAddress, bridge: serviceBridge, outerAddress });
    hold = await openHold({ rules, queuePackets });
  },
  publish: async (excluded: Port[], local: Port[]) => {
    await openPublish({ rules, excluded, local });
  },
  closeDoor: () => hold.closeDoor(),
  engage: async () => {
    const startMs = performance.now();
    await hold.engage();
    await hold.mute();
    return performance.now() - startMs;
  },
  release: async () => {
    const startMs = performance.now();
    await hold.release();
    return performance.now() - startMs;
  },
  isEngaged: () => hold.isEngaged(),
  holdStats: () => hold.stats(),
  closeHold: () => hold.close(),
  relayTo: async (host: string, port: number) => {
    const socket = connect(port, host);
    socket.setNoDelay(true);
    await once(socket, "connect");
    hold.attach(socket);
  },
  openInlet: async (index: number, port: number) => {
    const inlet = await openInlet({ rules, index });
    inlets.set(index, inlet);
    const server = createServer((socket) => {
      socket.setNoDelay(true);
      inlet.attach(socket);
    });
    server.listen(port);
    await once(server, "listening");
  },
  setFlows: (index: number, flows: Flow[]) => inlets.get(index)?.setFlows(flows),
  inletStats: (index: number) => inlets.get(index)?.stats(),
  inletFlows: (index: number) => countFlows(inlets.get(index)?.mark ?? -1),
  closeInlet: (index: number) => inlets.get(index)?.close(),
  listFlows: (exceptInlet?: number) =>
    listFlows(
      serviceAddress,
      exceptInlet === undefined ? undefined : inlets.get(exceptInlet)?.mark,
    ),
  cpuMs: () => {
    const { user, system } = process.cpuUsage();
    return (user + system) / 1_000;
  },
});
