/**
 * The source's end of a switch-over: packets for the service wait in a queue of the kernel while
 * it is frozen and travel to the destination afterwards. Neither refused nor lost, so a client
 * sees a pause, no reset, and TCP does not back off.
 */
import type { Duplex } from "node:stream";
import type { UmsError } from "../errors.js";
import { acceptInDockerUser } from "./docker-user.js";
import { addressNumber, destinationAddress, sourceAddress } from "./packets.js";
import { addPolicyRoute, policyRoute, removePolicyRoute } from "./policy-route.js";
import { newRelayStats, type Relay, type RelayStats, startRelay } from "./relay.js";
import type { Refusal, Rules } from "./rules.js";
import { holdDevice } from "./ruleset.js";
import { prepareForwarding } from "./sysctl.js";
import { openTun, type Tun } from "./tun.js";

export interface HoldOptions {
  rules: Rules;
  /** Packets kept while the service is held; the newest are dropped beyond it. Default 10,000. */
  queuePackets?: number;
  /** Bytes that may wait for the peer's connection. Default 1 MiB. */
  maxBufferedBytes?: number;
}

export interface HoldStats extends RelayStats {
  /** Packets the queue takes. */
  queuePackets: number;
  /** Packets the full queue dropped. */
  droppedPackets: number;
}

export interface Hold {
  /**
   * Queues requests for new connections only. CRIU dumps no connection that is not established, so
   * those that are being made are given time to become so before {@link engage}.
   */
  closeDoor(): Promise<void>;
  /** Queues packets to the service. One nft transaction. Call it before the freeze. */
  engage(): Promise<void>;
  /**
   * Drops packets from the service: a frozen service's kernel still repeats and acknowledges, and a
   * killed one's says goodbye. Call it after the freeze, so that nothing the service said is lost.
   */
  mute(): Promise<void>;
  /**
   * Hands the queued packets to the local service, in order, and lets traffic pass. Ends a relay.
   * For a migration that failed, and for a service that came home.
   */
  release(): Promise<void>;
  /** Relays to the service at the peer, what is queued first. Replaces an earlier relay. */
  attach(stream: Duplex): Relay;
  /** Refuses packets instead of relaying them, with a reset: new connections, or everything. */
  refuse(what: Refusal): Promise<void>;
  /** Ends the relay; packets queue again unless they are refused. */
  detach(): void;
  isEngaged(): Promise<boolean>;
  stats(): HoldStats;
  /** Called once if the device is lost; packets to a held service are dropped from then on. */
  onLost(listener: (error: UmsError) => void): void;
  /**
   * Removes the device. A service that is held stays held, and its packets are dropped: it may be
   * running elsewhere. Release it first if it is here.
   */
  close(): Promise<void>;
}

/** Stragglers come between two looks into the queue; this many queues' worth ends the drain. */
const drainRounds = 2;

/**
 * Makes the queue. Nothing changes for the traffic, unless an earlier process of this machine has
 * engaged the hold and ended: then it is engaged still, and queues again from now on.
 * @throws ERR_NETWORK_SETUP (also when the device exists: another process has it),
 *   ERR_COMMAND_FAILED
 */
export async function openHold(options: HoldOptions): Promise<Hold> {
  const { rules, queuePackets = 10_000 } = options;
  prepareForwarding();
  const tun = await openTun({ device: holdDevice, queuePackets });
  try {
    await acceptInDockerUser(rules.network.address);
    await addPolicyRoute(policyRoute(0), holdDevice);
  } catch (error) {
    tun.close();
    throw error;
  }
  return new OpenHold(options, tun, queuePackets, await rules.isTouched());
}

class OpenHold implements Hold {
  readonly #rules: Rules;
  readonly #tun: Tun;
  readonly #address: number;
  readonly #maxBufferedBytes: number | undefined;
  readonly #queuePackets: number;
  readonly #stats = newRelayStats();
  #relay: Relay | undefined;

  /** False only when there is surely nothing to release. */
  #isUsed: boolean;

  constructor(options: HoldOptions, tun: Tun, queuePackets: number, isUsed: boolean) {
    this.#rules = options.rules;
    this.#tun = tun;
    this.#address = addressNumber(options.rules.network.address);
    this.#maxBufferedBytes = options.maxBufferedBytes;
    this.#queuePackets = queuePackets;
    this.#isUsed = isUsed;
  }

  closeDoor(): Promise<void> {
    this.#isUsed = true;
    return this.#rules.holdRequests();
  }

  engage(): Promise<void> {
    this.#isUsed = true;
    return this.#rules.hold();
  }

  mute(): Promise<void> {
    return this.#rules.mute();
  }

  async release(): Promise<void> {
    // Two nft transactions are 20 ms of the freeze of a service that arrives for the first time.
    if (!this.#isUsed) return;
    this.#relay?.close();
    await this.#rules.unmute();
    // While it is still held, so that newer packets line up behind the queued ones.
    this.#putBack();
    await this.#rules.unhold();
    this.#putBack();
    this.#isUsed = false;
  }

  attach(stream: Duplex): Relay {
    this.#relay?.close();
    const limit = this.#maxBufferedBytes;
    const relay = startRelay(
      {
        tun: this.#tun,
        stream,
        accepts: (packet) =>
          sourceAddress(packet) === this.#address && destinationAddress(packet) !== this.#address,
        ...(limit === undefined ? {} : { maxBufferedBytes: limit }),
      },
      this.#stats,
    );
    this.#relay = relay;
    return relay;
  }

  refuse(what: Refusal): Promise<void> {
    return this.#rules.refuse(what);
  }

  detach(): void {
    this.#relay?.close();
  }

  isEngaged(): Promise<boolean> {
    return this.#rules.isHeld();
  }

  stats(): HoldStats {
    return {
      ...this.#stats,
      queuePackets: this.#queuePackets,
      droppedPackets: this.#tun.droppedPackets(),
    };
  }

  onLost(listener: (error: UmsError) => void): void {
    this.#tun.onLost(listener);
  }

  async close(): Promise<void> {
    this.#relay?.close();
    this.#tun.close();
    // A held service keeps the blackhole route: it is what drops its packets.
    if (!(await this.#rules.isHeld())) await removePolicyRoute(policyRoute(0));
  }

  #putBack(): void {
    this.#tun.drain(drainRounds * this.#queuePackets, (packet) => {
      if (destinationAddress(packet) === this.#address) this.#tun.write(packet);
    });
  }
}
