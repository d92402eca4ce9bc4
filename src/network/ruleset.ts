/**
 * The text of the nft table `ip ums` (man 8 nft), from a typed description. Pure.
 *
 * Docker's own tables stay untouched and act besides it. For address translation the first chain
 * that decides wins: ours run before Docker's (lower priority number), and where nothing shall be
 * translated they say so with a translation to the same address, because a plain `accept` would
 * let Docker's masquerade follow.
 */

export type Protocol = "tcp" | "udp";

/** One conversation of the service, seen from the service. */
export interface Flow {
  protocol: Protocol;
  remoteAddress: string;
  remotePort: number;
  servicePort: number;
}

export interface Port {
  protocol: Protocol;
  port: number;
}

/** Where the service sits in this network namespace. */
export interface ServiceNetwork {
  /** Constant private IPv4 address of the service. */
  address: string;
  /** Bridge it is reached by. */
  bridge: string;
  /**
   * Source address for connections that begin inside the outer container: its own primary IPv4
   * address. Not the bridge's, because after a migration the destination has that one too.
   */
  outerAddress: string;
}

export interface PublishRules {
  /** Ports of the outer container itself, never passed to the service. */
  excluded: readonly Port[];
  /** Ports that are passed to the service also for connections from inside the outer container. */
  local: readonly Port[];
  /** Interfaces besides loopback, bridge and tunnels where nothing is published. */
  ignoredInterfaces: readonly string[];
}

/** A tunnel whose device brings the service's packets from another machine. */
export interface InletRules {
  device: string;
  /** Firewall and conntrack mark that routes into it. */
  mark: number;
  /**
   * Conversations that were under way when the service was frozen at the source. Undefined keeps
   * what the kernel has, which after a restart is what an earlier process has set.
   */
  flows?: readonly Flow[];
}

export interface Ruleset {
  network: ServiceNetwork;
  publish?: PublishRules;
  inlets: readonly InletRules[];
}

/**
 * Names of our TUN devices begin with this. Rules for what is true of all of them name the prefix:
 * they hold at any time, also between a crash of the supervisor and its return.
 */
export const tunnelPrefix = "ums-";
/** The hold's device. */
export const holdDevice = `${tunnelPrefix}out`;
/** Firewall mark that routes into the hold. */
export const holdMark = 0x756d7300;
/** Most inlets at a time; their marks follow the hold's. */
export const maxInlets = 63;

/** An idle flow that went to another machine is remembered this long; see `relayed`. */
const relayedTimeout = "10m";
const maxRelayedFlows = 65_535;
/** A connection request that went to another machine; senders repeat them at most a minute apart. */
const requestedTimeout = "2m";
/** As many as a conntrack table that can be read has (flows.ts), and more. */
const maxFlowMarks = 1_000_000;
const flowType = "inet_proto . ipv4_addr . inet_service . inet_service";

/** Sets and maps. Their content outlives a change of the rules, and a crash of the supervisor. */
const containers = [
  // Addresses whose packets go to the hold instead of the bridge.
  "add set ip ums held { type ipv4_addr; }",
  // Addresses whose connection requests alone go to the hold.
  "add set ip ums closed { type ipv4_addr; }",
  // Addresses whose own packets are dropped: what the kernel of a frozen service still sends.
  "add set ip ums muted { type ipv4_addr; }",
  // Addresses that take no new connections here, and such that take nothing at all.
  "add set ip ums draining { type ipv4_addr; }",
  "add set ip ums drained { type ipv4_addr; }",
  // Flows that this machine sends on to another: source address and port, service port.
  `add set ip ums relayed { type ${flowType}; flags dynamic,timeout;` +
    ` timeout ${relayedTimeout}; size ${maxRelayedFlows}; }`,
  // Ports where connection requests go to a port of this outer container instead of the service.
  "add map ip ums fronted { type inet_service : inet_service; }",
  // Those of them whose last packet from the client was the request for the connection.
  `add set ip ums requested { type ${flowType}; flags dynamic,timeout;` +
    ` timeout ${requestedTimeout}; size ${maxRelayedFlows}; }`,
  // Flows that came with the service and have not been heard of since, and the inlet's mark for each.
  `add map ip ums flow_marks { type ${flowType} : mark; flags dynamic; size ${maxFlowMarks}; }`,
];

/**
 * Base chains in the order a packet meets them. Netfilter's own order: raw -300, conntrack -200,
 * destination translation -100, filter 0, source translation 100.
 */
const chains: Record<string, { definition: string; rules: (ruleset: Ruleset) => string[] }> = {
  raw: { definition: "type filter hook prerouting priority -290", rules: rawRules },
  answers: { definition: "type filter hook prerouting priority -140", rules: answerRules },
  publish: { definition: "type nat hook prerouting priority -110", rules: publishRules },
  hold: { definition: "type filter hook prerouting priority -80", rules: holdRules },
  publish_local: { definition: "type nat hook output priority -110", rules: publishLocalRules },
  hold_local: { definition: "type route hook output priority -80", rules: holdLocalRules },
  forward: { definition: "type filter hook forward priority -10", rules: forwardRules },
  egress: { definition: "type nat hook postrouting priority 90", rules: egressRules },
  remember: { definition: "type filter hook postrouting priority 150", rules: rememberRules },
};

/** The whole table as one nft transaction: `nft -f -` applies all of it or nothing. */
export function renderRuleset(ruleset: Ruleset): string {
  const lines = ["add table ip ums", ...containers];
  for (const [chain, { definition }] of Object.entries(chains)) {
    lines.push(`add chain ip ums ${chain} { ${definition}; policy accept; }`);
    lines.push(`flush chain ip ums ${chain}`);
  }
  for (const [chain, { rules }] of Object.entries(chains)) {
    for (const rule of rules(ruleset)) lines.push(`add rule ip ums ${chain} ${rule}`);
  }
  lines.push(...flowElements(ruleset));
  return `${lines.join("\n")}\n`;
}

const hold = `"${holdDevice}"`;
const anyTunnel = `"${tunnelPrefix}*"`;
const inletMarks = `${holdMark + 1}-${holdMark + maxInlets}`;
const portProtocols = "meta l4proto { tcp, udp }";
const connectionRequest = "tcp flags & (syn | ack) == syn";
/** Key of a flow in a packet to the service, and in one from it. */
const flowToService = "meta l4proto . ip saddr . th sport . th dport";
const flowFromService = "meta l4proto . ip daddr . th dport . th sport";

function rawRules({ network: { address, bridge } }: Ruleset): string[] {
  return [
    `iifname "${bridge}" ip saddr @muted drop`,
    // route_localnet is on for the bridge and the tunnels: keep the loopback range off the wire.
    'iifname != "lo" ip daddr 127.0.0.0/8 drop',
    // Packets the hold puts back have been through conntrack and its translation once already.
    `iifname ${hold} ip daddr ${address} notrack`,
    // A client that asks by a tunnel for what it has once had by the front door has done with that:
    // it uses the same port again. Not when the request is the one that was sent on from here.
    `iifname ${anyTunnel} ip daddr ${address} ${connectionRequest} ` +
      `${flowToService} != @requested delete @relayed { ${flowToService} }`,
    // A service that came home: conntrack knows these flows by their untranslated addresses and
    // would give them another port to keep the two apart.
    `iifname ${anyTunnel} ip daddr ${address} ${portProtocols} ${flowToService} @relayed notrack`,
  ];
}

/** Connections that come in by an inlet are marked, and their answers routed back by the mark. */
function answerRules({ network: { address, bridge }, inlets }: Ruleset): string[] {
  return [
    // Also a flow that came by another tunnel before: the service has been away and back since.
    ...inlets.map(
      ({ device, mark }) =>
        `iifname "${device}" ip daddr ${address} ct mark != ${mark} ct mark set ${mark}`,
    ),
    // What has come by a tunnel has its mark; that of its arrival must not stand in the way of a
    // later flow of the same client port by another tunnel.
    `iifname ${anyTunnel} ip daddr ${address} ${portProtocols} ` +
      `delete @flow_marks { ${flowToService} : ${holdMark} }`,
    // Only flows that are new here: a service that came home has flows known to this conntrack,
    // and their answers leave by the front door.
    `iifname { "${bridge}", ${hold} } ip saddr ${address} ct state new ct mark 0 ${portProtocols} ` +
      `ct mark set ${flowFromService} map @flow_marks`,
    // The peer may answer by the tunnel, not begin anything in this machine's network.
    `iifname ${hold} ip daddr != ${address} ct state invalid drop`,
    `iifname ${hold} ip daddr != ${address} ct state new ct mark 0 drop`,
    // A flow known from an earlier stay answers by the tunnel it has now.
    `iifname "${bridge}" ip saddr ${address} ct mark ${inletMarks} ${portProtocols} ` +
      `ct mark set ${flowFromService} map @flow_marks`,
    // In the middle of a connection of which nothing is known here: by the front door it would reach
    // the client as someone else's, and the client's refusal would end the connection. Once the
    // client says something its way is known again.
    `iifname "${bridge}" ip saddr ${address} ct state new ct mark 0 meta l4proto tcp ` +
      "tcp flags & (syn | ack) == ack drop",
    // From the service here, or from where it went on to.
    `iifname { "${bridge}", ${hold} } ip saddr ${address} ct mark ${inletMarks} ` +
      "meta mark set ct mark",
  ];
}

function publishRules({ network: { address, bridge }, publish }: Ruleset): string[] {
  if (publish === undefined) return [];
  const inside = ["lo", bridge, ...publish.ignoredInterfaces].map((name) => `"${name}"`);
  const arriving =
    `iifname != ${anyTunnel} iifname != { ${[...new Set(inside)].join(", ")} } ` +
    "fib daddr type local";
  const passed = protocols.map((protocol) => {
    const excluded = portSet(publish.excluded, protocol);
    const ports = excluded === undefined ? "" : `th dport != ${excluded} `;
    return `${arriving} meta l4proto ${protocol} ${ports}dnat to ${address}`;
  });
  // A port that is not in the map goes on to the next rule. Connections that exist do not come
  // here at all: conntrack remembers their translation.
  return [`${arriving} meta l4proto tcp redirect to :tcp dport map @fronted`, ...passed];
}

function publishLocalRules({ network: { address }, publish }: Ruleset): string[] {
  if (publish === undefined) return [];
  return protocols.flatMap((protocol) => {
    const ports = portSet(publish.local, protocol);
    if (ports === undefined) return [];
    return `fib daddr type local ${protocol} dport ${ports} dnat to ${address}`;
  });
}

function holdRules({ network: { address } }: Ruleset): string[] {
  // Not those that the hold puts back.
  const toService = `iifname != ${hold} ip daddr ${address}`;
  return [
    `${toService} ip daddr @held meta mark set ${holdMark}`,
    `${toService} ip daddr @closed ${connectionRequest} meta mark set ${holdMark}`,
  ];
}

function holdLocalRules({ network: { address } }: Ruleset): string[] {
  return [
    `ip daddr ${address} ip daddr @held meta mark set ${holdMark}`,
    `ip daddr ${address} ip daddr @closed ${connectionRequest} meta mark set ${holdMark}`,
  ];
}

function forwardRules({ network: { address, bridge } }: Ruleset): string[] {
  const away = `oifname ${hold} ip daddr ${address}`;
  return [
    // Conntrack does not translate what it calls invalid: the private address would leak.
    `ip saddr ${address} oifname != "${bridge}" oifname != ${anyTunnel} ct state invalid drop`,
    // A clear refusal sends a client to where the service is now; silence would keep it waiting.
    `${away} ip daddr @draining ct state new meta l4proto tcp reject with tcp reset`,
    `${away} ip daddr @draining ct state new reject`,
    `${away} ip daddr @drained meta l4proto tcp reject with tcp reset`,
    `${away} ip daddr @drained reject`,
  ];
}

function egressRules({ network: { address, bridge, outerAddress } }: Ruleset): string[] {
  return [
    `oifname ${anyTunnel} ip saddr ${address} snat to ${address}`,
    `ip saddr ${address} oifname != "${bridge}" masquerade`,
    // Begun inside the outer container: an address that is the same seen from any machine.
    `ip daddr ${address} fib saddr type local snat to ${outerAddress}`,
  ];
}

function rememberRules({ network: { address } }: Ruleset): string[] {
  const relayed = `oifname ${hold} ip daddr ${address} ct mark != ${inletMarks}`;
  return [
    `${relayed} ${portProtocols} update @relayed { ${flowToService} }`,
    `${relayed} ${connectionRequest} update @requested { ${flowToService} }`,
    `${relayed} tcp flags & (syn | ack) != syn delete @requested { ${flowToService} }`,
  ];
}

/** Elements for the map; later inlets win where two name the same flow. */
function flowElements({ inlets }: Ruleset): string[] {
  if (inlets.every(({ flows }) => flows === undefined)) return [];
  const elements = new Map<string, number>();
  for (const { flows = [], mark } of inlets) {
    for (const { protocol, remoteAddress, remotePort, servicePort } of flows) {
      elements.set(`${protocol} . ${remoteAddress} . ${remotePort} . ${servicePort}`, mark);
    }
  }
  const list = [...elements].map(([flow, mark]) => `${flow} : ${mark}`);
  const flush = "flush map ip ums flow_marks";
  return list.length === 0
    ? [flush]
    : [flush, `add element ip ums flow_marks { ${list.join(", ")} }`];
}

const protocols: readonly Protocol[] = ["tcp", "udp"];

function portSet(ports: readonly Port[], protocol: Protocol): string | undefined {
  const numbers = ports.filter((port) => port.protocol === protocol).map(({ port }) => port);
  return numbers.length === 0 ? undefined : `{ ${[...new Set(numbers)].join(", ")} }`;
}
