/**
 * The destination's end of a switch-over: connections that clients have with the source reach the
 * service here through a tunnel, and its answers go back the same way, so that clients notice
 * nothing. Connections made directly to this machine are not touched.
 */
import type { Duplex } from "node:stream";
import type { UmsError } from "../errors.js";
import { acceptInDockerUser } from "./docker-user.js";
import { addressNumber, destinationAddress } from "./packets.js";
import { addPolicyRoute, policyRoute, removePolicyRoute } from "./policy-route.js";
import { newRelayStats, type Relay, type RelayStats, startRelay } from "./relay.js";
import type { Rules } from "./rules.js";
import { type Flow, tunnelPrefix } from "./ruleset.js";
import { prepareForwarding } from "./sysctl.js";
import { openTun, type Tun } from "./tun.js";

export interface InletOptions {
  rules: Rules;
  /**
   * Number of this inlet, 1 to 63: one for every machine that relays to this one. The same number
   * after a restart finds the flows of before.
   */
  index?: number;
  /** Answers kept while no stream is attached. Default 10,000. */
  queuePackets?: number;
  maxBufferedBytes?: number;
}

export interface InletStats extends RelayStats {
  droppedPackets: number;
}

export interface Inlet {
  readonly index: number;
  readonly device: string;
  /** Mark in conntrack of the flows that use this inlet; count them with `countFlows`. */
  readonly mark: number;
  /**
   * Conversations that were under way at the freeze: what the service says in one of them goes
   * out by the tunnel even if nothing has come in by it yet. Call it before the thaw.
   */
  setFlows(flows: readonly Flow[]): Promise<void>;
  /** Relays to and from the source. Replaces an earlier relay. */
  attach(stream: Duplex): Relay;
  stats(): InletStats;
  onLost(listener: (error: UmsError) => void): void;
  /** Removes the device, its rules and its routes: flows that still use it end here. */
  close(): Promise<void>;
}

/**
 * Makes the tunnel's end. Existing traffic is not affected.
 * @throws ERR_NETWORK_SETUP (also when the device exists), ERR_COMMAND_FAILED
 */
export async function openInlet(options: InletOptions): Promise<Inlet> {
  const { rules, index = 1, queuePackets = 10_000 } = options;
  if (index === 0) throw new RangeError("tunnel index 0 is the hold's");
  const device = `${tunnelPrefix}in${index}`;
  const route = policyRoute(index);
  prepareForwarding();
  const tun = await openTun({ device, queuePackets });
  try {
    await acceptInDockerUser(rules.network.address);
    await addPolicyRoute(route, device);
    await rules.setInlet({ device, mark: route.mark });
  } catch (error) {
    tun.close();
    throw error;
  }
  return new OpenInlet(options, tun, index, route.mark);
}

class OpenInlet implements Inlet {
  readonly index: number;
  readonly device: string;
  readonly mark: number;
  readonly #rules: Rules;
  readonly #tun: Tun;
  readonly #address: number;
  readonly #maxBufferedBytes: number | undefined;
  readonly #stats = newRelayStats();
  #relay: Relay | undefined;

  constructor(options: InletOptions, tun: Tun, index: number, mark: number) {
    this.index = index;
    this.device = tun.device;
    this.mark = mark;
    this.#rules = options.rules;
    this.#tun = tun;
    this.#address = addressNumber(options.rules.network.address);
    this.#maxBufferedBytes = options.maxBufferedBytes;
  }

  setFlows(flows: readonly Flow[]): Promise<void> {
    return this.#rules.setInlet({ device: this.device, mark: this.mark, flows });
  }

  attach(stream: Duplex): Relay {
    this.#relay?.close();
    const limit = this.#maxBufferedBytes;
    const relay = startRelay(
      {
        tun: this.#tun,
        stream,
        // Nothing but the service: the tunnel is no way into this machine's network.
        accepts: (packet) => destinationAddress(packet) === this.#address,
        ...(limit === undefined ? {} : { maxBufferedBytes: limit }),
      },
      this.#stats,
    );
    this.#relay = relay;
    return relay;
  }

  stats(): InletStats {
    return { ...this.#stats, droppedPackets: this.#tun.droppedPackets() };
  }

  onLost(listener: (error: UmsError) => void): void {
    this.#tun.onLost(listener);
  }

  async close(): Promise<void> {
    this.#relay?.close();
    this.#tun.close();
    await this.#rules.removeInlet(this.device);
    await removePolicyRoute(policyRoute(this.index));
  }
}
