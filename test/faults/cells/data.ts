/** What the data channel carries is changed, cut short or held up on its way. */
import { readIdentity } from "../../../src/peer/identity.js";
import { type FaultyProxy, openFaultyProxy, type Spoil } from "../../lib/faulty-proxy.js";
import type { Cell, Outcome, Scene } from "../cell.js";

const dataPort = 9752;

const words: Record<Spoil, string> = {
  flip: "one bit flipped",
  drop: "64 bytes missing",
  insert: "64 bytes too many",
  reset: "connection reset",
  end: "cut short",
  stall: "stalled",
};

interface Kind {
  kind: string;
  offset: number;
  spoils: readonly Spoil[];
  expect: Outcome;
}

/** rsync sends again what its own digests find wrong. */
const kinds: readonly Kind[] = [
  {
    kind: "pages",
    offset: 300_000,
    spoils: ["flip", "drop", "insert", "reset", "end", "stall"],
    expect: "aborted",
  },
  {
    kind: "files",
    offset: 3_000,
    spoils: ["flip", "drop", "insert", "reset", "end", "stall"],
    expect: "aborted",
  },
  { kind: "sync", offset: 60, spoils: ["flip", "drop", "reset", "end"], expect: "either" },
];

const proxied = (
  kind: string,
  spoil: Spoil,
  offset: number,
  more: Partial<Cell>,
  isTls = true,
): Cell => {
  const proxies = new WeakMap<Scene["pair"], FaultyProxy>();
  return {
    category: "data",
    fault: words[spoil],
    state: isTls ? `stream ${kind}` : "any stream, below TLS",
    expect: "aborted",
    boundMs: 120_000,
    ...more,
    async before(scene) {
      const { pair, source, destination } = scene;
      const identity = (side: typeof source) => readIdentity(side.path("/etc/ums/tls"));
      const proxy = await openFaultyProxy({
        host: pair.gateway,
        target: { host: destination.outer.ip, port: dataPort },
        identities: isTls
          ? { source: identity(source), destination: identity(destination) }
          : undefined,
        kind,
        spoil,
        offset,
      });
      proxies.set(pair, proxy);
      await source.redirect(`${destination.outer.ip}:${dataPort}`, `${pair.gateway}:${proxy.port}`);
    },
    async act({ pair, source, migrating }) {
      await migrating;
      const proxy = proxies.get(pair);
      await source.heal();
      await proxy?.close();
      if (proxy?.spoilt === 0) throw new Error("no stream was spoilt");
    },
  };
};

const spoilt: Cell[] = kinds.flatMap(({ kind, offset, spoils, expect }) =>
  spoils.map((spoil) =>
    proxied(kind, spoil, offset, {
      expect,
      ...(spoil === "stall" ? { budgetMs: 8_000 } : {}),
      isFast: kind === "pages" && spoil === "flip",
    }),
  ),
);

/** Only to a destination that does not have the image yet. */
const image: Cell[] = (["flip", "reset", "end"] as const).map((spoil) =>
  proxied("image", spoil, 100_000, { pair: {} }),
);

const belowTls: Cell[] = (["flip", "reset", "end"] as const).map((spoil) =>
  proxied("", spoil, 200_000, {}, false),
);

export const data: readonly Cell[] = [...spoilt, ...image, ...belowTls];
