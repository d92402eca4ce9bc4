/** The nft table `ip ums` of this network namespace: keeps its description and applies changes. */
import { UmsError } from "../errors.js";
import { run } from "../lib/exec.js";
import { addressNumber } from "./packets.js";
import {
  type InletRules,
  type PublishRules,
  type Ruleset,
  renderRuleset,
  type ServiceNetwork,
} from "./ruleset.js";

export interface Rules {
  readonly network: ServiceNetwork;
  /** Publishes ports, or none. */
  setPublish(publish: PublishRules | undefined): Promise<void>;
  /**
   * Adds an inlet or replaces the one with the same device. The flows of a new arrival are all that
   * the service has: those of the other inlets are of earlier stays, and go.
   */
  setInlet(inlet: InletRules): Promise<void>;
  removeInlet(device: string): Promise<void>;
  /** From now on requests for new connections go to the hold. */
  holdRequests(): Promise<void>;
  /** From now on packets to the service go to the hold. */
  hold(): Promise<void>;
  /** From now on packets from the service are dropped. */
  mute(): Promise<void>;
  /** From now on new connections to a held service are refused, or all that comes for it. */
  refuse(what: Refusal): Promise<void>;
  /** Packets from the service pass again. */
  unmute(): Promise<void>;
  /** Packets to the service reach it again. */
  unhold(): Promise<void>;
  /** True if packets to the service go to the hold, also if an earlier process arranged that. */
  isHeld(): Promise<boolean>;
  /** True if anything of the service's traffic is held or muted. */
  isTouched(): Promise<boolean>;
  /**
   * From now on requests for connections to these TCP ports go to ports of this outer container;
   * takes the place of earlier ones. @param ports service's port -> own port
   */
  setFronted(ports: ReadonlyMap<number, number>): Promise<void>;
  /** Removes the table. */
  close(): Promise<void>;
}

/**
 * Takes over the table, or makes it. What an earlier process held stays held: the sets are
 * read, never guessed.
 * @throws ERR_CONFIG_INVALID for an address or interface name that is none;
 *   ERR_NETWORK_SETUP when nft refuses, with its message.
 */
export async function openRules(network: ServiceNetwork): Promise<Rules> {
  addressNumber(network.address);
  addressNumber(network.outerAddress);
  checkInterfaceName(network.bridge);
  const rules = new NftRules(network);
  await rules.apply();
  return rules;
}

/** Sets of addresses whose packets do not go their ordinary way. */
const trafficSets = ["held", "closed", "muted", "draining", "drained"];

/** The sets behind what is refused. */
const refusals = { new: "draining", all: "drained" } as const;

/** `new`: requests for connections; `all`: packets of those that exist, too. */
export type Refusal = keyof typeof refusals;

class NftRules implements Rules {
  readonly network: ServiceNetwork;
  #ruleset: Ruleset;
  /** nft transactions in order: each is rendered from the state the one before it has left. */
  #last: Promise<void> = Promise.resolve();

  constructor(network: ServiceNetwork) {
    this.network = network;
    this.#ruleset = { network, inlets: [] };
  }

  apply(): Promise<void> {
    return this.#change((ruleset) => ruleset);
  }

  setPublish(publish: PublishRules | undefined): Promise<void> {
    for (const name of publish?.ignoredInterfaces ?? []) checkInterfaceName(name);
    return this.#change(({ publish: _, ...rest }) =>
      publish === undefined ? rest : { ...rest, publish },
    );
  }

  setInlet(inlet: InletRules): Promise<void> {
    for (const { remoteAddress } of inlet.flows ?? []) addressNumber(remoteAddress);
    return this.#change((ruleset) => {
      const others = ruleset.inlets.filter(({ device }) => device !== inlet.device);
      const kept = inlet.flows === undefined ? others : others.map(withoutFlows);
      return { ...ruleset, inlets: [...kept, inlet] };
    });
  }

  removeInlet(device: string): Promise<void> {
    return this.#change((ruleset) => ({
      ...ruleset,
      inlets: ruleset.inlets.filter((inlet) => inlet.device !== device),
    }));
  }

  holdRequests(): Promise<void> {
    return this.#transaction([`add element ip ums closed { ${this.network.address} }`]);
  }

  hold(): Promise<void> {
    return this.#transaction([`add element ip ums held { ${this.network.address} }`]);
  }

  mute(): Promise<void> {
    return this.#transaction([`add element ip ums muted { ${this.network.address} }`]);
  }

  refuse(what: Refusal): Promise<void> {
    return this.#transaction([`add element ip ums ${refusals[what]} { ${this.network.address} }`]);
  }

  unmute(): Promise<void> {
    return this.#transaction(["flush set ip ums muted"]);
  }

  unhold(): Promise<void> {
    return this.#transaction(trafficSets.map((set) => `flush set ip ums ${set}`));
  }

  isHeld(): Promise<boolean> {
    return this.#isIn("held");
  }

  async isTouched(): Promise<boolean> {
    const found = await Promise.all(trafficSets.map((set) => this.#isIn(set)));
    return found.includes(true);
  }

  async #isIn(set: string): Promise<boolean> {
    await this.#last;
    const { stdout } = await nft(["list", "set", "ip", "ums", set]);
    return stdout.includes(this.network.address);
  }

  setFronted(ports: ReadonlyMap<number, number>): Promise<void> {
    const elements = [...ports].map(([port, own]) => `${port} : ${own}`).join(", ");
    return this.#transaction([
      "flush map ip ums fronted",
      ...(ports.size === 0 ? [] : [`add element ip ums fronted { ${elements} }`]),
    ]);
  }

  close(): Promise<void> {
    // `add` first, so that deleting works whether or not the table exists.
    return this.#transaction(["add table ip ums", "delete table ip ums"]);
  }

  #change(edit: (ruleset: Ruleset) => Ruleset): Promise<void> {
    return this.#inOrder(async () => {
      const next = edit(this.#ruleset);
      await nft(["-f", "-"], renderRuleset(next));
      this.#ruleset = next;
    });
  }

  #transaction(lines: readonly string[]): Promise<void> {
    return this.#inOrder(async () => {
      await nft(["-f", "-"], `${lines.join("\n")}\n`);
    });
  }

  #inOrder(work: () => Promise<void>): Promise<void> {
    const turn = this.#last.then(work);
    this.#last = turn.catch(() => {
      // The caller of this turn gets the error; the next turn starts from the unchanged state.
    });
    return turn;
  }
}

function withoutFlows({ flows: _, ...rest }: InletRules): InletRules {
  return rest;
}

async function nft(args: readonly string[], input?: string): Promise<{ stdout: string }> {
  try {
    return await run(["nft", ...args], input === undefined ? {} : { input });
  } catch (cause) {
    const error = UmsError.from(cause);
    // nft names the fault in the first line; the lines after it quote and underline the rule.
    const [firstLine] = String(error.details["stderrTail"] ?? "").split("\n");
    throw new UmsError("ERR_NETWORK_SETUP", `nft: ${firstLine || error.message}`, { cause });
  }
}

/** Names go into nft's text, so only what the kernel allows and quoting needs no care for. */
function checkInterfaceName(name: string): void {
  if (/^[\w.-]{1,15}$/.test(name)) return;
  throw new UmsError("ERR_CONFIG_INVALID", `not an interface name: ${JSON.stringify(name)}`);
}
