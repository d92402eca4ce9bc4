/**
 * Method `docker-checkpoint`, the paper's: `docker checkpoint create` at the source, rsync over ssh,
 * `docker start --checkpoint` at the destination. In the same outer containers, with the engine's
 * default runtime and network; nobody is connected, because such a checkpoint refuses established
 * TCP connections.
 */
import { chmod } from "node:fs/promises";
import { join } from "node:path";
import { poll } from "../src/lib/deadline.js";
import { run } from "../src/lib/exec.js";
import {
  type Experiment,
  fixture,
  type Measurement,
  type Method,
  servicePort,
} from "./lib/experiment.js";
import { untilServing } from "./lib/load.js";
import { startSampling } from "./lib/memory-sampler.js";

const image = "ums-bench/docker-checkpoint:latest";
const label = "ums.bench=docker-checkpoint";
const buildTimeoutMs = 600_000;
const bootTimeoutMs = 120_000;
const migrateTimeoutMs = 600_000;
const service = "service";

/**
 * @param archive the fixture's image, as `docker save` writes it
 * @param directory a private one, for the keys of this run
 */
export async function openDockerCheckpoint(archive: string, directory: string): Promise<Method> {
  await removeContainers();
  await run(["docker", "build", "--quiet", "--tag", image, "bench/image"], {
    timeoutMs: buildTimeoutMs,
  });
  await makeKeys(directory);
  const flags = (await run(["scripts/outer-flags.sh"])).stdout.trim().split("\n");
  const startOuter = async (suffix: string): Promise<string> => {
    const name = `ums-bench-checkpoint-${suffix}`;
    await run([
      ...["docker", "run", "-d", "--name", name, "--label", label, ...flags],
      ...["-v", `${directory}:/bench:ro`, "-v", `${archive}:/image.tar:ro`, image],
    ]);
    await poll(`the engine of ${name}`, () => succeeds(name, "docker", "version"), {
      timeoutMs: bootTimeoutMs,
      intervalMs: 200,
    });
    await inOuter(name, "docker", "load", "--input", "/image.tar");
    return name;
  };
  return {
    name: "docker-checkpoint",
    async measure(experiment) {
      try {
        const [source, destination] = await Promise.all([
          startOuter("source"),
          startOuter("destination"),
        ]);
        return await migrate(source, destination, experiment);
      } finally {
        await removeContainers();
      }
    },
    close: removeContainers,
  };
}

async function migrate(
  source: string,
  destination: string,
  experiment: Experiment,
): Promise<Measurement> {
  const details = serviceArgv(experiment);
  await inOuter(source, "docker", "run", "-d", ...details);
  await untilServing({ host: await addressOf(source), port: servicePort });
  const samplers = await Promise.all([startSampling(source), startSampling(destination)]);
  const address = await addressOf(destination);
  const figures = parseFigures(
    await inOuter(source, "bench-migrate", service, address, ...details),
  );
  const faults: string[] = [];
  const state = await untilServing({ host: address, port: servicePort });
  if (!state.startsWith("ok")) faults.push(`the state of the service: ${state}`);
  const [sourcePeakBytes = 0, destinationPeakBytes = 0] = await Promise.all(
    samplers.map((sampler) => sampler.stop()),
  );
  const gapMs =
    experiment.name === "memory" ? await gapOfCounter(source, destination, faults) : null;
  const { total = Number.NaN, freeze = Number.NaN, bytes = Number.NaN, ...timingsMs } = figures;
  return {
    totalMs: total,
    freezeMs: freeze,
    gapMs,
    bytesSent: bytes,
    peakBytes: Math.max(0, destinationPeakBytes - experiment.memoryMib * 1024 ** 2),
    sourcePeakBytes,
    timingsMs,
    faults,
  };
}

/** What `docker create` and `docker run` are given, the same at both ends. */
function serviceArgv({ command }: Experiment): string[] {
  const publish = `${servicePort}:${servicePort}`;
  return ["--name", service, "--publish", publish, `ums-fixture/${fixture}`, ...command];
}

/** The counter prints `COUNT UNIX_TIME_MS`; the clock is the machine's, common to both ends. */
async function gapOfCounter(
  source: string,
  destination: string,
  faults: string[],
): Promise<number> {
  const [lastCount, lastMs] = parseCount(
    (await inOuter(source, "docker", "logs", "--tail", "1", service)).trim(),
  );
  const printed = await inOuter(destination, "docker", "logs", service);
  const [firstCount, firstMs] = parseCount(printed.split("\n")[0] ?? "");
  if (firstCount !== lastCount + 1) {
    faults.push(`the counter went on with ${firstCount} after ${lastCount}`);
  }
  return firstMs - lastMs;
}

function parseCount(line: string): [count: number, unixTimeMs: number] {
  const [count = Number.NaN, unixTimeMs = Number.NaN] = line.split(" ").map(Number);
  return [count, unixTimeMs];
}

/** Lines `NAME NUMBER` of bench-migrate. */
function parseFigures(output: string): Record<string, number> {
  const pairs = output.split("\n").map((line) => line.split(" "));
  return Object.fromEntries(pairs.map(([name = "", value]) => [name, Number(value)]));
}

async function makeKeys(directory: string): Promise<void> {
  await run([
    ...["docker", "run", "--rm", "--label", label, "-v", `${directory}:/keys`],
    ...["--entrypoint", "ssh-keygen", image, "-q", "-t", "ed25519", "-N", "", "-f", "/keys/id"],
  ]);
  await chmod(join(directory, "id"), 0o600);
}

async function inOuter(name: string, ...argv: string[]): Promise<string> {
  const { stdout } = await run(["docker", "exec", name, ...argv], { timeoutMs: migrateTimeoutMs });
  return stdout.trim();
}

async function succeeds(name: string, ...argv: string[]): Promise<boolean> {
  try {
    await run(["docker", "exec", name, ...argv]);
    return true;
  } catch {
    // Not yet: asked again.
    return false;
  }
}

async function addressOf(name: string): Promise<string> {
  const format = "{{.NetworkSettings.IPAddress}}";
  return (await run(["docker", "inspect", "--format", format, name])).stdout.trim();
}

async function removeContainers(): Promise<void> {
  const { stdout } = await run(["docker", "ps", "--all", "--quiet", "--filter", `label=${label}`]);
  const ids = stdout.split("\n").filter((id) => id !== "");
  if (ids.length === 0) return;
  await run(["docker", "rm", "--force", "--volumes", ...ids], { timeoutMs: 120_000 });
}
