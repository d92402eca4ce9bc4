import type Docker from "dockerode";
import { UmsError } from "../../errors.js";
import type { Guard } from "../contract.js";
import type { DockerApi } from "./api.js";
import { nameOf } from "./read.js";

/** What others can do to a container through the engine, and what comes of it. */
const watchedEvents = [
  "destroy",
  "die",
  "kill",
  "oom",
  "pause",
  "rename",
  "restart",
  "stop",
  "unpause",
  "update",
];

interface EngineEvent {
  Action: string;
  timeNano: number;
  Actor: { Attributes: Record<string, string> };
}

/**
 * An engine has no way to forbid `docker rm`, so a guard can only notice. Two ways, because each
 * misses something: the state (a signal leaves it as it is), and the engine's list of events, which
 * keeps the last 256 of the whole machine only.
 *
 * @throws ERR_SERVICE_NOT_FOUND
 */
export async function openGuard(api: DockerApi, id: string): Promise<Guard> {
  const before = await api.inspect(id);
  if (before === undefined) {
    throw new UmsError("ERR_SERVICE_NOT_FOUND", `there is no container ${id}`);
  }
  const expected = fingerprint(before);
  const name = nameOf(before);
  let cursor = await engineTime(api);
  let found: string | undefined;
  let isReleased = false;
  return {
    mode: "detected",
    async change() {
      if (found !== undefined || isReleased) return found;
      const now = await engineTime(api);
      const events = await eventsOf(api, before.Id, cursor, now);
      cursor = now;
      const container = await api.inspect(before.Id);
      found = describeEvents(name, events) ?? describeState(name, expected, container);
      return found;
    },
    async release() {
      isReleased = true;
    },
  };
}

/** Everything about a container that only a control message, or its own end, changes. */
function fingerprint(container: Docker.ContainerInspectInfo): Record<string, string> {
  const { Config, HostConfig, State, NetworkSettings } = container;
  return {
    name: nameOf(container),
    "start time": State.StartedAt,
    "restart count": `${container.RestartCount}`,
    state: State.Status,
    configuration: JSON.stringify([Config, HostConfig]),
    networks: Object.keys(NetworkSettings.Networks).sort().join(" "),
  };
}

function describeEvents(name: string, events: readonly EngineEvent[]): string | undefined {
  if (events.length === 0) return undefined;
  const actions = events.map(({ Action, Actor }) => {
    const { signal } = Actor.Attributes;
    return signal === undefined ? Action : `${Action} with signal ${signal}`;
  });
  return `${name} got from the engine: ${[...new Set(actions)].join(", ")}`;
}

function describeState(
  name: string,
  expected: Record<string, string>,
  container: Docker.ContainerInspectInfo | undefined,
): string | undefined {
  if (container === undefined) return `${name} was removed`;
  const actual = fingerprint(container);
  const changed = Object.keys(expected).filter((key) => actual[key] !== expected[key]);
  return changed.length === 0 ? undefined : `${name}: its ${changed.join(", ")} changed`;
}

/** Seconds with nine digits, as the engine's event filters take them; its clock, not ours. */
async function engineTime(api: DockerApi): Promise<string> {
  const info: { SystemTime: string } = await api.quick("the engine's clock", (docker) =>
    docker.info(),
  );
  const [whole = "", fraction = ""] = info.SystemTime.replace(/(Z|[+-]\d\d:\d\d)$/, "").split(".");
  const zone = /(Z|[+-]\d\d:\d\d)$/.exec(info.SystemTime)?.[0] ?? "Z";
  return `${Date.parse(`${whole}${zone}`) / 1_000}.${fraction.padEnd(9, "0")}`;
}

/** With an end the engine answers from its list and closes. */
async function eventsOf(
  api: DockerApi,
  id: string,
  since: string,
  until: string,
): Promise<EngineEvent[]> {
  const filters = { type: ["container"], container: [id], event: watchedEvents };
  const read = async (docker: Docker): Promise<string> => {
    const stream = await docker.getEvents({
      since: since as unknown as number,
      until: until as unknown as number,
      filters: JSON.stringify(filters) as unknown as object,
    });
    let text = "";
    for await (const chunk of stream) text += String(chunk);
    return text;
  };
  const text = await api.quick(`the events of container ${id}`, read);
  return text
    .split("\n")
    .filter((line) => line.trim() !== "")
    .map((line) => JSON.parse(line) as EngineEvent);
}
