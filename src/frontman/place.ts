/** Where the service is, as a Frontman needs to know it. */
import { isIPv6 } from "node:net";
import { UmsError } from "../errors.js";

/** How clients reach the service. */
export interface Endpoint {
  /** Name or IP address, IPv6 without brackets. */
  host: string;
  /** Of the URLs that clients are redirected to. Default `http`. */
  scheme?: "http" | "https";
  /** Port of the service -> port where clients reach it; one that is not here is the same. */
  ports?: Readonly<Record<string, number>>;
}

/** `moving`: for a short time nowhere. */
export type PlaceState = "here" | "moving" | "elsewhere";

export interface Place {
  state: PlaceState;
  /** Undefined while moving, and while it is not known: then clients wait. */
  endpoint?: Endpoint | undefined;
}

/** The newest place, and word of every change. */
export interface Whereabouts {
  current(): Place;
  /** Calls `listener` after every change until the returned function is called. */
  subscribe(listener: () => void): () => void;
}

/** Whereabouts that somebody in this process sets. */
export interface PlaceBoard extends Whereabouts {
  /** Tells the subscribers, unless nothing has changed. */
  set(place: Place): void;
}

export function createPlaceBoard(initial: Place): PlaceBoard {
  let place = initial;
  const listeners = new Set<() => void>();
  return {
    current: () => place,
    subscribe(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    set(next) {
      if (JSON.stringify(next) === JSON.stringify(place)) return;
      place = next;
      for (const listener of [...listeners]) listener();
    },
  };
}

/** Port where clients reach the service's port. */
export function portAt({ ports = {} }: Endpoint, servicePort: number): number {
  return ports[servicePort] ?? servicePort;
}

const endpointPattern =
  /^(?:(https?):\/\/)?(?:\[([0-9a-fA-F:.]+)\]|([A-Za-z0-9_.-]{1,253}))((?:,\d{1,5}=\d{1,5})*)$/;

/**
 * Parses `[http[s]://]HOST[,PORT=PORT]...`: the service's port, then the one where clients find it.
 * @throws ERR_CONFIG_INVALID
 */
export function parseEndpoint(text: string): Endpoint {
  const [, scheme, ipv6, name, list = ""] = endpointPattern.exec(text) ?? [];
  const host = ipv6 ?? name;
  const pairs = list.split(",").slice(1);
  const ports = Object.fromEntries(pairs.map((pair) => pair.split("=").map(Number)));
  const isValid =
    host !== undefined &&
    (ipv6 === undefined || isIPv6(ipv6)) &&
    Object.entries(ports).flat().map(Number).every(isPort);
  if (!isValid) {
    throw new UmsError("ERR_CONFIG_INVALID", `"${text}" does not say how clients reach a service`, {
      hint: "write [https://]HOST[,PORT=PUBLISHED]..., e.g. svc.example.org,80=30080",
    });
  }
  return {
    host,
    ...(scheme === undefined ? {} : { scheme: scheme as "http" | "https" }),
    ...(pairs.length === 0 ? {} : { ports }),
  };
}

export function isPort(port: number): boolean {
  return Number.isInteger(port) && port >= 1 && port <= 65_535;
}
