import type Docker from "dockerode";
import type { DockerApi } from "./api.js";

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

const openTimeoutMs = 30_000;

export interface EngineEvent {
  Action: string;
  Actor: { Attributes: Record<string, string> };
}

export interface EventListener {
  /** False once the engine has ended the stream. */
  isOpen(): boolean;
  close(): void;
}

/** The engine's clock, not ours: seconds with nine digits, as its event filters take them. */
export async function engineTime(api: DockerApi): Promise<string> {
  const info: { SystemTime: string } = await api.quick("the engine's clock", (docker) =>
    docker.info(),
  );
  const [zone = "Z"] = /(Z|[+-]\d\d:\d\d)$/.exec(info.SystemTime) ?? [];
  const [whole = "", fraction = ""] = info.SystemTime.slice(0, -zone.length).split(".");
  return `${Date.parse(`${whole}${zone}`) / 1_000}.${fraction.padEnd(9, "0")}`;
}

/** Events of a container between two times; with an end the engine answers from its list. */
export async function pastEvents(
  api: DockerApi,
  id: string,
  since: string,
  until: string,
): Promise<EngineEvent[]> {
  const read = async (docker: Docker): Promise<string> => {
    let text = "";
    for await (const chunk of await openEvents(docker, id, { since, until })) text += String(chunk);
    return text;
  };
  return parseEvents(await api.quick(`the events of container ${id}`, read));
}

/** Tells events of a container from `since` on, as they come. */
export async function listenForEvents(
  api: DockerApi,
  id: string,
  since: string,
  onEvents: (events: EngineEvent[]) => void,
): Promise<EventListener> {
  const open = (docker: Docker) => openEvents(docker, id, { since });
  const stream = await api.stream(`the events of container ${id}`, open, openTimeoutMs);
  let isOpen = true;
  let rest = "";
  stream.on("data", (chunk) => {
    const lines = (rest + String(chunk)).split("\n");
    rest = lines.pop() ?? "";
    const events = parseEvents(lines.join("\n"));
    if (events.length > 0) onEvents(events);
  });
  const end = () => {
    isOpen = false;
  };
  stream.on("error", end);
  stream.on("close", end);
  return {
    isOpen: () => isOpen,
    close() {
      isOpen = false;
      (stream as unknown as { destroy(): void }).destroy();
    },
  };
}

async function openEvents(
  docker: Docker,
  id: string,
  range: { since: string; until?: string },
): Promise<NodeJS.ReadableStream> {
  const filters = { type: ["container"], container: [id], event: watchedEvents };
  // The types want whole seconds and an object; the engine takes nine digits and JSON.
  const options = { ...range, filters: JSON.stringify(filters) };
  return await docker.getEvents(options as unknown as Docker.GetEventsOptions);
}

function parseEvents(text: string): EngineEvent[] {
  return text
    .split("\n")
    .filter((line) => line.trim() !== "")
    .map((line) => JSON.parse(line) as EngineEvent);
}
