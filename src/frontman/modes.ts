/** What a Frontman does with a port while the service is away, as users write it. */
import { UmsError } from "../errors.js";
import { isPort } from "./place.js";

/**
 * `hold` waits for the service and passes on; `forward` does so too, but always as a connection
 * of its own; `retry` asks HTTP clients to come again while the service moves; `redirect` sends
 * HTTP clients to the new endpoint. docs/frontman.md has the table.
 */
export type Mode = "hold" | "forward" | "retry" | "redirect";

const modes: readonly string[] = ["hold", "forward", "retry", "redirect"];

export interface PortMode {
  /** Port of the service. */
  port: number;
  mode: Mode;
}

/** A port to listen on, for the service's port. */
export interface ListenMode extends PortMode {
  listenPort: number;
}

/** Parses `PORT=MODE[,PORT=MODE]...`. @throws ERR_CONFIG_INVALID */
export function parsePortModes(text: string): PortMode[] {
  const list = text
    .split(",")
    .map((part) => part.trim())
    .filter((part) => part !== "")
    .map((part) => {
      const { port, listenPort, mode } = parseListen(part);
      if (port !== listenPort) throw invalid(part);
      return { port, mode };
    });
  const twice = list.find(({ port }, index) => list.findIndex((one) => one.port === port) < index);
  if (twice !== undefined) {
    throw new UmsError("ERR_CONFIG_INVALID", `port ${twice.port} has two modes in "${text}"`);
  }
  return list;
}

/** Parses `[LISTEN:]PORT=MODE`. @throws ERR_CONFIG_INVALID */
export function parseListen(text: string): ListenMode {
  const match = /^(?:(\d{1,5}):)?(\d{1,5})=([a-z]+)$/.exec(text);
  const port = Number(match?.[2]);
  const listenPort = Number(match?.[1] ?? match?.[2]);
  const mode = match?.[3] ?? "";
  if (!isPort(port) || !isPort(listenPort) || !modes.includes(mode)) throw invalid(text);
  return { port, listenPort, mode: mode as Mode };
}

function invalid(text: string): UmsError {
  return new UmsError("ERR_CONFIG_INVALID", `"${text}" is no port with its mode`, {
    hint: `write PORT=MODE, e.g. 80=redirect; modes are ${modes.join(", ")}`,
  });
}
