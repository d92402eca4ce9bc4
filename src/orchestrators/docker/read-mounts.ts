import type Docker from "dockerode";
import { isPlatformPath } from "../platform.js";
import type { WorkloadMount } from "../workload.js";

/** How the engine calls a volume that was given no name. */
const madeUpName = /^[0-9a-f]{64}$/;

/**
 * The mounts of a container as its user wrote them: `--mount` first, then `-v`, then `--tmpfs`,
 * then volumes without a name. The engine itself shows them resolved and in any order.
 *
 * @param imageVolumes the image's VOLUMEs: the same image has them everywhere
 */
export function readMounts(
  { HostConfig, Mounts }: Docker.ContainerInspectInfo,
  imageVolumes: readonly string[],
): WorkloadMount[] {
  const byMount = (HostConfig.Mounts ?? []).flatMap(readMount);
  const written = new Set(byMount.map(({ target }) => target));
  const bound = new Set((HostConfig.Binds ?? []).map((bind) => bind.split(":")[1] ?? ""));
  const isUnnamed = (name: string, target: string) => madeUpName.test(name) && !bound.has(target);
  const resolved = Mounts.filter(({ Destination }) => !written.has(Destination)).map(
    ({ Type, Name, Source, Destination, RW }): WorkloadMount => ({
      kind: Type === "bind" ? "bind" : "volume",
      source: Type === "bind" ? Source : isUnnamed(Name ?? "", Destination) ? "" : (Name ?? ""),
      target: Destination,
      isReadOnly: !RW,
    }),
  );
  const isNamed = ({ source }: WorkloadMount) => source !== "";
  const named = resolved.filter(isNamed).sort(byTarget);
  const unnamed = resolved
    .filter((mount) => !isNamed(mount) && !imageVolumes.includes(mount.target))
    .sort(byTarget);
  const tmpfs = Object.entries(HostConfig.Tmpfs ?? {}).map(readTmpfs);
  return [...byMount, ...named, ...tmpfs, ...unnamed].filter(
    ({ target }) => !isPlatformPath(target),
  );
}

function readMount(mount: Docker.MountSettings): WorkloadMount[] {
  // Others (npipe, cluster, image) are told by inexpressible.ts.
  const kind = mount.Type as string;
  if (kind !== "volume" && kind !== "bind" && kind !== "tmpfs") return [];
  const sizeBytes = mount.TmpfsOptions?.SizeBytes;
  return [
    {
      kind,
      source: mount.Source ?? "",
      target: mount.Target,
      isReadOnly: mount.ReadOnly === true,
      ...(sizeBytes ? { sizeBytes } : {}),
    },
  ];
}

/** `--tmpfs /path:size=64m,ro`; the other options of it are told by inexpressible.ts. */
function readTmpfs([target, text]: [string, string]): WorkloadMount {
  const options = text.split(",");
  const size = options.find((option) => option.startsWith("size="))?.slice("size=".length);
  const sizeBytes = size === undefined ? undefined : tmpfsBytes(size);
  return {
    kind: "tmpfs",
    source: "",
    target,
    isReadOnly: options.includes("ro"),
    ...(sizeBytes === undefined ? {} : { sizeBytes }),
  };
}

/** Undefined for what depends on the machine, e.g. `50%`. */
function tmpfsBytes(text: string): number | undefined {
  const [, digits, unit = ""] = /^(\d+)([kmg]?)$/i.exec(text) ?? [];
  if (digits === undefined) return undefined;
  return Number(digits) * 1024 ** ["", "k", "m", "g"].indexOf(unit.toLowerCase());
}

function byTarget(a: WorkloadMount, b: WorkloadMount): number {
  return a.target < b.target ? -1 : 1;
}
