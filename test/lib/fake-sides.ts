/** Two ends of a migration without a service: they write down what is asked of them. */
import { PassThrough } from "node:stream";
import type { DestinationSide, SourceSide } from "../../src/approach/contract.js";
import { noFaults } from "../../src/lib/faults.js";
import { silentLogger } from "../../src/lib/log.js";
import type { Admit } from "../../src/migration/admission.js";
import type { DestinationRunner } from "../../src/migration/destination-role.js";
import { createDestinationRunner } from "../../src/migration/destination-runner.js";
import {
  type DestinationState,
  initialDestination,
} from "../../src/migration/destination-state.js";
import { type Journal, type JournalRecord, openJournal } from "../../src/migration/journal.js";
import type { DestinationAddress, PeerLink } from "../../src/migration/source-attempt.js";
import { createSourceRunner, type SourceRunner } from "../../src/migration/source-runner.js";
import { initialSource, type SourceState } from "../../src/migration/source-state.js";
import type { Peer, Ref, ReserveOptions } from "../../src/peer/client.js";
import type { Facts, ServiceSpec } from "../../src/spec.js";

export const fakeDigest = "digest-1";
export const fakeDestination: DestinationAddress = { address: "destination:9750", name: "b" };

export const fakeFacts: Facts = {
  protocolVersion: 1,
  umsVersion: "0.0.0",
  architecture: "x64",
  kernelRelease: "6.1",
  criuVersion: "4.2.1",
  cgroupVersion: 1,
  cpuFlags: [],
};

/** Only what the runners themselves look at. */
export const fakeSpec = {
  serviceId: "service-1",
  image: { reference: "image", id: "sha256:1", layers: [] },
  mounts: [],
} as unknown as ServiceSpec;

/** What happened, in order: side calls, peer calls and records. */
export class Events {
  readonly list: string[] = [];
  /** Called in the place of a step; may throw, or wait. */
  readonly script = new Map<string, (attempt: number) => unknown>();

  async step(name: string): Promise<void> {
    this.list.push(name);
    await this.script.get(name)?.(this.count(name));
  }

  count(name: string): number {
    return this.list.filter((entry) => entry === name).length;
  }
}

export function fakeSource(events: Events): SourceSide {
  const step = (name: string) => () => events.step(`source.${name}`);
  return {
    facts: async () => fakeFacts,
    describe: async () => {
      await events.step("source.describe");
      return { spec: fakeSpec, memoryBytes: 1, diskBytes: 1 };
    },
    sendImage: step("sendImage"),
    presync: step("presync"),
    ready: step("ready"),
    freeze: step("freeze"),
    dump: async () => {
      await events.step("source.dump");
      return { digest: fakeDigest, flows: [] };
    },
    thaw: step("thaw"),
    relay: step("relay"),
    depart: step("depart"),
  };
}

export class FakeDestination implements DestinationSide {
  tree: "none" | "frozen" | "running" = "none";

  constructor(private readonly events: Events) {}

  facts = async () => fakeFacts;

  async reserve() {
    await this.events.step("destination.reserve");
    return { hasImage: true, knownLayers: 0 };
  }

  async provision() {
    await this.events.step("destination.provision");
    return { containerId: "c1", keptMounts: [] };
  }

  arm = () => this.events.step("destination.arm");
  accept = () => this.events.step("destination.accept");

  async verified() {
    await this.events.step("destination.verified");
    return fakeDigest;
  }

  async restore() {
    await this.events.step("destination.restore");
    this.tree = "frozen";
  }

  isHeld = async () => this.tree === "frozen";

  async thaw() {
    await this.events.step("destination.thaw");
    this.tree = "running";
  }

  async discard() {
    await this.events.step("destination.discard");
    this.tree = "none";
  }
}

export interface FakeSourceEnd {
  runner: SourceRunner;
  journal: Journal;
  close(): Promise<void>;
}

/** A source with a journal in `directory`, which may hold an earlier supervisor's records. */
export async function openFakeSource(
  directory: string,
  events: Events,
  peer: Peer,
): Promise<FakeSourceEnd> {
  const journal = await openJournal(`${directory}/source-journal`);
  const last = journal.lastOf("source");
  const state: SourceState = last?.role === "source" ? last.state : initialSource(1);
  const link: PeerLink = {
    peer,
    peerName: () => "b",
    openStream: async () => new PassThrough(),
    close: () => {},
  };
  const runner = createSourceRunner(
    {
      side: fakeSource(events),
      log: silentLogger(),
      faults: noFaults,
      journal: recorded(journal, events),
      ownPeerPort: 9750,
      connect: async () => link,
      isDestinationAllowed: () => true,
      onState: () => {},
    },
    state,
  );
  return { runner, journal, close: () => closeEnd(runner, journal) };
}

export interface FakeDestinationEnd {
  runner: DestinationRunner;
  journal: Journal;
  side: FakeDestination;
  /** What the source says when it is asked; undefined: it is not reached. */
  answers: { decision: string; digest: string } | undefined;
  close(): Promise<void>;
}

export async function openFakeDestination(
  directory: string,
  events: Events,
  options: { side?: FakeDestination; leaseMs?: number; admit?: Admit } = {},
): Promise<FakeDestinationEnd> {
  const journal = await openJournal(`${directory}/destination-journal`);
  const last = journal.lastOf("destination");
  const state: DestinationState = last?.role === "destination" ? last.state : initialDestination;
  const side = options.side ?? new FakeDestination(events);
  const runner = createDestinationRunner(
    {
      side,
      admit: options.admit ?? (async () => ({})),
      log: silentLogger(),
      faults: noFaults,
      journal: recorded(journal, events),
      isOccupied: () => false,
      onOwned: () => events.step("owned"),
      askSource: async () => {
        await events.step("ask");
        return end.answers;
      },
      ...(options.leaseMs === undefined ? {} : { leaseMs: options.leaseMs }),
    },
    state,
  );
  const end: FakeDestinationEnd = {
    runner,
    journal,
    side,
    answers: undefined,
    close: () => closeEnd(runner, journal),
  };
  return end;
}

/** The destination's runner as the source calls it, every call a step of its own. */
export function fakePeer(events: Events, destination: () => DestinationRunner): Peer {
  return {
    resetFlows: async () => 0,
    async reserve(ref: Ref, options: ReserveOptions) {
      await events.step("peer.reserve");
      const { facts, token, ...departure } = options;
      const source = { address: "source:9750", name: "a" };
      const arrival = { ref, departure, facts, source, token, thumbprint: "thumbprint-of-a" };
      const room = await destination().reserve(arrival);
      return { ...room, dataPort: 9751 };
    },
    async provision(ref) {
      await events.step("peer.provision");
      return destination().provision(ref);
    },
    async arm(ref) {
      await events.step("peer.arm");
      return destination().arm(ref);
    },
    async prepare(ref, digest, flows) {
      await events.step("peer.prepare");
      return destination().prepare(ref, flows, digest);
    },
    async commit(ref, digest) {
      await events.step("peer.commit");
      return destination().commit(ref, digest);
    },
    async abort(ref, reason) {
      await events.step("peer.abort");
      return destination().abort(ref, reason);
    },
    async query() {
      await events.step("peer.query");
      const { phase, digest = "" } = destination().state;
      return { state: phase, decision: "", digest, dataPort: 9751 };
    },
    close: () => {},
  };
}

/** Every record is an event, before it is written. */
function recorded(journal: Journal, events: Events): Journal {
  return {
    get last(): JournalRecord | undefined {
      return journal.last;
    },
    lastOf: (role) => journal.lastOf(role),
    find: (role, migrationId) => journal.find(role, migrationId),
    usedFor: (tokenId) => journal.usedFor(tokenId),
    close: () => journal.close(),
    async append(entry) {
      await events.step(`record ${entry.state.phase}`);
      await journal.append(entry);
    },
  };
}

async function closeEnd(runner: { close(): void }, journal: Journal): Promise<void> {
  runner.close();
  await journal.close();
}
