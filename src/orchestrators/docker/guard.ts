import type Docker from "dockerode";
import { UmsError } from "../../errors.js";
import type { Guard } from "../contract.js";
import type { DockerApi } from "./api.js";
import { type EngineEvent, engineTime, listenForEvents, pastEvents } from "./events.js";
import { nameOf } from "./read.js";

/**
 * An engine has no way to forbid `docker rm`, so a guard can only notice. Three ways, because each
 * misses something: the state (a signal leaves it as it is), listening (the engine may restart),
 * and asking for past events (the engine keeps the last 256 of the whole machine).
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
  const notice = (events: readonly EngineEvent[]) => {
    found ??= describeEvents(name, events);
  };
  let listener = await listenForEvents(api, before.Id, cursor, notice);
  let isReleased = false;
  return {
    mode: "detected",
    async change() {
      if (found !== undefined || isReleased) return found;
      const now = await engineTime(api);
      if (!listener.isOpen()) {
        listener = await listenForEvents(api, before.Id, now, notice);
      }
      notice(await pastEvents(api, before.Id, cursor, now));
      cursor = now;
      found ??= describeState(name, expected, await api.inspect(before.Id));
      return found;
    },
    async release() {
      isReleased = true;
      listener.close();
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
