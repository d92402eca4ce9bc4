/**
 * A model of two outer containers and the network between them, for exploring the switch-over.
 * The decisions are the production's own: reduceSource, reduceDestination, answerQuery,
 * readOwnership. What the model adds is what surrounds them:
 *
 * - network: a growing set of messages. Each may be delivered never, once or often, in any order,
 *   however late;
 * - a record is durable before its effects; a crash may come before, between and after them;
 * - a crash of a supervisor loses what it had in memory; journal, freezer, process tree and files
 *   stay;
 * - a restart of the outer container by its orchestrator loses the process tree, too;
 * - the loss of an outer container loses everything.
 */
import {
  type DestinationEvent,
  type DestinationState,
  hasRefused,
  isReceiving,
  reduceDestination,
} from "../../src/migration/destination-state.js";
import {
  answerQuery,
  reduceSource,
  type SourceEvent,
  type SourceState,
} from "../../src/migration/source-state.js";
import { readOwnership } from "../../src/supervisor/ownership.js";
import {
  asJournal,
  digestOf,
  indexOf,
  isRecovering,
  type Limits,
  type Memory,
  type Outer,
  other,
  remember,
  type Side,
  type Step,
  type Tree,
  type World,
  withoutReason,
} from "./model-world.js";

/** What a test may put in place of production's rules, to see that the checker notices. */
export interface Rules {
  reduceSource: typeof reduceSource;
  reduceDestination: typeof reduceDestination;
  /** False: a frozen tree runs on when the supervisor ends, as under ptrace or CRIU. */
  isFreezerKept: boolean;
  /** False: a destination forgets the migrations it had before. */
  knowsEarlier: boolean;
  answerQuery: typeof answerQuery;
}

export const productionRules: Rules = {
  reduceSource,
  reduceDestination,
  isFreezerKept: true,
  knowsEarlier: true,
  answerQuery,
};

/** Everything that can happen next. */
export function steps(world: World, rules: Rules, limits: Limits): Step[] {
  return (["A", "B"] as const).flatMap((side) =>
    world[side].isLost ? [] : new SideSteps(world, side, rules, limits).all(),
  );
}

class SideSteps {
  private readonly found: Step[] = [];
  private readonly own: Outer;
  private isFault = false;

  constructor(
    private readonly world: World,
    private readonly side: Side,
    private readonly rules: Rules,
    private readonly limits: Limits,
  ) {
    this.own = world[side];
  }

  all(): Step[] {
    const { memory } = this.own;
    if (memory === undefined) this.boot();
    else {
      this.sourceEffect(memory);
      this.destinationEffect(memory);
      this.request(memory);
      this.deliverToSource(memory);
      this.deliverToDestination(memory);
      this.answerQueries();
      this.fence(memory);
      this.localDestination(memory);
    }
    this.isFault = true;
    this.fault();
    return this.found;
  }

  private add(label: string, change: Partial<Outer>, sent: string[] = []): void {
    const { world, side, own } = this;
    const news = sent.filter((message) => !world.net.includes(message));
    const net = news.length === 0 ? world.net : [...world.net, ...news].sort();
    const next: World = { ...world, net, [side]: { ...own, ...change } };
    this.found.push({ label: `${side}: ${label}`, world: next, isFault: this.isFault });
  }

  private has(kind: string, migrationId: string | undefined): boolean {
    return this.world.net.includes(`${kind} ${migrationId}`);
  }

  private fault(): void {
    const { own, limits, world } = this;
    if (own.memory !== undefined && own.crashes < limits.crashes) {
      const tree = own.tree === "frozen" && !this.rules.isFreezerKept ? "run" : own.tree;
      this.add("supervisor crashes", { memory: undefined, tree, crashes: own.crashes + 1 });
    }
    if (own.restarts < limits.restarts) {
      this.add("outer container restarts", {
        memory: undefined,
        tree: "none",
        restarts: own.restarts + 1,
      });
    }
    const losses = Number(world.A.isLost) + Number(world.B.isLost);
    if (losses < limits.losses) {
      this.add("outer container is lost", { memory: undefined, tree: "none", isLost: true });
    }
  }

  /** readOwnership, runService, then (as a step of its own) recover. */
  private boot(): void {
    const { journal, tree } = this.own;
    const { mayRun } = readOwnership(asJournal(journal), true);
    const memory: Memory = { ...remember(journal), destinationEffects: ["recover"] };
    const started: Tree = mayRun === "start" && tree === "none" ? "run" : tree;
    this.add(`supervisor starts (${mayRun})`, { memory, tree: started });
  }

  private onSource(event: SourceEvent, before: Partial<Outer> = {}, sent: string[] = []): void {
    const memory = before.memory ?? this.own.memory;
    if (memory?.source === undefined) return;
    const step = this.rules.reduceSource(memory.source, event);
    if (step.state === memory.source && step.effects.length === 0 && sent.length === 0) {
      if (Object.keys(before).length > 0) this.add(`source ${event.type} (ignored)`, before);
      return;
    }
    const state = withoutReason(step.state);
    const sourceEffects = [...memory.sourceEffects, ...step.effects];
    const next: Partial<Outer> = { ...before, memory: { ...memory, source: state, sourceEffects } };
    if (step.journal) {
      const { found } = this.own.journal;
      const id = step.state.migrationId;
      next.journal = {
        ...this.own.journal,
        lastRole: "source",
        source: state,
        found: id === undefined ? found : { ...found, [`source ${id}`]: state },
      };
    }
    this.add(`source ${event.type} -> ${step.state.phase}`, next, sent);
  }

  private onDestination(event: DestinationEvent, before: Partial<Outer> = {}): void {
    const memory = before.memory ?? this.own.memory;
    if (memory === undefined) return;
    const step = this.rules.reduceDestination(memory.destination, event);
    const isSame = step.state === memory.destination && step.effects.length === 0;
    if (isSame && Object.keys(before).length === 0) return;
    const destination = withoutReason(step.state);
    const destinationEffects = [...memory.destinationEffects, ...step.effects];
    const next: Partial<Outer> = {
      ...before,
      memory: { ...memory, destination, destinationEffects },
    };
    if (step.journal) {
      const { found } = this.own.journal;
      next.journal = {
        ...this.own.journal,
        lastRole: "destination",
        destination,
        found: { ...found, [`destination ${destination.migrationId}`]: destination },
      };
    }
    this.add(`destination ${event.type} -> ${step.state.phase}`, next);
  }

  /** The first effect in the queue, done; and it may fail instead. */
  private sourceEffect(memory: Memory): void {
    const [effect, ...sourceEffects] = memory.sourceEffects;
    const { source } = memory;
    if (effect === undefined || source?.migrationId === undefined) return;
    const id = source.migrationId;
    const done = { memory: { ...memory, sourceEffects } };
    const send = (kind: string) => this.add(effect, done, [`${kind} ${id}`]);
    switch (effect) {
      case "reserve":
        send("RESERVE");
        break;
      case "precopy":
        this.onSource({ type: "converged" }, done);
        break;
      case "freeze":
        if (this.own.tree === "run") this.add("freeze", { tree: "frozen" });
        else this.onSource({ type: "dumped", digest: digestOf(id) }, done, [`CHECKPOINT ${id}`]);
        break;
      case "prepare":
        send("PREPARE");
        break;
      case "send-commit":
        send("COMMIT");
        break;
      case "send-abort":
        send("ABORT");
        break;
      case "thaw":
        this.onSource({ type: "thawed" }, { ...done, tree: "run" });
        break;
      case "kill":
        this.onSource({ type: "killed" }, { ...done, tree: "none" });
        break;
    }
  }

  private destinationEffect(memory: Memory): void {
    const [effect, ...destinationEffects] = memory.destinationEffects;
    if (effect === undefined) return;
    const { journal, tree } = this.own;
    const done = { memory: { ...memory, destinationEffects } };
    switch (effect) {
      case "recover":
        if (journal.lastRole === "source") this.recoverSource(memory.source, done);
        else if (journal.lastRole === "destination") {
          this.onDestination({ type: "restarted", treeHeld: tree === "frozen" }, done);
        } else this.add("recover", done);
        break;
      case "query":
        this.add("query", { memory: { ...done.memory, isAsking: true } });
        break;
      case "thaw":
        this.onDestination({ type: "thawed" }, { ...done, tree: "run" });
        break;
      case "discard":
        this.add("discard", { ...done, tree: "none" });
        break;
      case "own": {
        const epoch = memory.destination.epoch ?? 0;
        const source: SourceState = { phase: "ACTIVE", epoch, issuedEpoch: epoch };
        this.add("own", {
          memory: { ...done.memory, source },
          journal: { ...journal, lastRole: "source", source },
        });
        break;
      }
    }
  }

  /** The destination is heard, or not: the network may lose the question. */
  private recoverSource(source: SourceState | undefined, done: Partial<Outer>): void {
    this.onSource({ type: "restarted", isTakenOver: false }, done);
    const there = this.world[other[this.side]].memory?.destination;
    const isOwner = there?.phase === "OWNER" || there?.phase === "RUNNING";
    if (!isOwner || there.migrationId !== source?.migrationId) return;
    this.onSource({ type: "restarted", isTakenOver: true }, done);
  }

  /** `ums rollback --fenced` and `ums takeover --fenced`. */
  private fence(memory: Memory): void {
    const { operator } = this.limits;
    if (operator === undefined || isRecovering(memory)) return;
    if (operator === "honest" && !this.world[other[this.side]].isLost) return;
    const fence = { by: "operator", at: "" };
    if (memory.source?.phase === "COMMITTED") this.onSource({ type: "fenced", fence });
    if (memory.destination.phase === "PREPARED") this.onDestination({ type: "fenced", fence });
  }

  /** What an operator or a failure may do at any time. */
  private request(memory: Memory): void {
    if (isRecovering(memory)) return;
    const { world, side, limits } = this;
    if (memory.source?.phase === "ACTIVE" && world.begun.length < limits.migrations) {
      const migrationId = `m${world.begun.length + 1}`;
      const from = this.found.length;
      this.onSource({ type: "begin", migrationId });
      for (const step of this.found.slice(from)) step.world.begun = [...world.begun, side];
    }
    this.onSource({ type: "failed", reason: "any" });
  }

  private deliverToSource(memory: Memory): void {
    const { source } = memory;
    // A source hears answers to its own calls only, and makes none before it has recovered.
    if (source === undefined || isRecovering(memory)) return;
    // Answers without an epoch reach only the attempt they belong to (source-runner.ts).
    if (this.has("RESERVED", source.migrationId)) this.onSource({ type: "reserved" });
    for (const message of this.world.net) {
      const [kind, id = ""] = message.split(" ");
      if (this.world.begun[indexOf(id)] !== this.side) continue;
      const epoch = this.epochOf(id) ?? source.issuedEpoch;
      if (kind === "PREPARED") this.onSource({ type: "prepared", epoch, digest: digestOf(id) });
      if (kind === "RUNNING") this.onSource({ type: "running", epoch });
      if (kind === "REFUSED") this.onSource({ type: "refused", epoch, reason: "refused" });
    }
  }

  /** Epoch under which this side has offered a migration. */
  private epochOf(id: string, at: Side = this.side): number | undefined {
    const record = this.world[at].journal.found[`source ${id}`] as SourceState | undefined;
    return record?.issuedEpoch;
  }

  private deliverToDestination(memory: Memory): void {
    const { destination } = memory;
    for (const message of this.world.net) {
      const [kind, id = ""] = message.split(" ");
      const from = this.world.begun[indexOf(id)];
      if (from === undefined || from === this.side) continue;
      if (kind === "RESERVE") this.reserve(memory, id, from);
      if (kind === "ABORT" || (kind === "ANSWER-ABORT" && this.isAskingFor(memory, id))) {
        this.onDestination({ type: "abort", migrationId: id, reason: "aborted" });
      }
      if (kind === "COMMIT" || (kind === "ANSWER-COMMIT" && this.isAskingFor(memory, id))) {
        this.commit(destination, id, from);
      }
    }
  }

  private isAskingFor(memory: Memory, id: string): boolean {
    return memory.isAsking && memory.destination.migrationId === id;
  }

  private reserve(memory: Memory, migrationId: string, from: Side): void {
    const { destination, source, destinationEffects } = memory;
    const hasRecord = `destination ${migrationId}` in this.own.journal.found;
    const isKnown = this.rules.knowsEarlier && hasRecord;
    const isOccupied = source !== undefined && source.phase !== "RETIRED";
    if (destination.migrationId === migrationId && isReceiving(destination.phase)) {
      this.add("reserve again", {}, [`RESERVED ${migrationId}`]);
      return;
    }
    // The runner lets the effects of the last migration end first.
    if (isReceiving(destination.phase) || destination.phase === "OWNER") return;
    if (isOccupied || destinationEffects.length > 0) return;
    const epoch = this.epochOf(migrationId, from) ?? 0;
    this.onDestination({ type: "reserve", migrationId, epoch, isKnown });
  }

  /** The commit and, in the same step, the answer that the state then gives. */
  private commit(destination: DestinationState, migrationId: string, from: Side): void {
    const epoch = this.epochOf(migrationId, from) ?? 0;
    const digest = digestOf(migrationId);
    this.onDestination({ type: "commit", migrationId, epoch, digest });
    const earlier = this.own.journal.found[`destination ${migrationId}`] as
      | DestinationState
      | undefined;
    const known = destination.migrationId === migrationId ? destination : earlier;
    if (known === undefined || known.epoch !== epoch) return;
    if (known.phase === "RUNNING") this.answer(`RUNNING ${migrationId}`);
    if (hasRefused(known.phase)) this.answer(`REFUSED ${migrationId}`);
  }

  private answer(message: string): void {
    if (!this.world.net.includes(message)) this.add(`answers ${message}`, {}, [message]);
  }

  /** As a source, asked by a destination that is PREPARED. */
  private answerQueries(): void {
    const asker = this.world[other[this.side]].memory;
    const id = asker?.destination.migrationId;
    if (!asker?.isAsking || asker.destination.phase !== "PREPARED" || id === undefined) return;
    const record = this.own.journal.found[`source ${id}`] as SourceState | undefined;
    const decision = this.rules.answerQuery(record);
    if (decision === "ABORT" || decision === "COMMIT") this.answer(`ANSWER-${decision} ${id}`);
  }

  /** Receiving, restoring, failing. */
  private localDestination(memory: Memory): void {
    if (isRecovering(memory)) return;
    const { destination } = memory;
    const { phase, migrationId: id = "" } = destination;
    const digest = digestOf(id);
    if (phase === "RESERVED") this.onDestination({ type: "receive" });
    if (phase === "RECEIVING" || phase === "VERIFIED") this.answer(`RESERVED ${id}`);
    if (this.has("CHECKPOINT", id) && this.has("PREPARE", id)) {
      if (phase === "RECEIVING") this.onDestination({ type: "verified", digest });
      if (phase === "VERIFIED") this.onDestination({ type: "restore" });
    }
    if (phase === "RESTORING" && this.own.tree === "none") this.add("restore", { tree: "frozen" });
    if (phase === "RESTORING" && this.own.tree === "frozen") this.onDestination({ type: "held" });
    if (phase === "PREPARED") this.answer(`PREPARED ${id}`);
    if (hasRefused(phase)) this.answer(`REFUSED ${id}`);
    this.isFault = phase === "PREPARED";
    this.onDestination({ type: "failed", reason: "any" });
  }
}
