/** Method `ums`: a live migration between two outer containers, under load. */
import { sleep } from "../src/lib/deadline.js";
import { run } from "../src/lib/exec.js";
import { askOnce } from "../test/lib/line-client.js";
import { type OuterContainer, type OuterLab, openOuterLab } from "../test/lib/outer.js";
import { outerWithFixture } from "../test/lib/outer-image.js";
import {
  type Experiment,
  fixture,
  type Measurement,
  type Method,
  servicePort,
} from "./lib/experiment.js";
import { startLoad, untilServing } from "./lib/load.js";
import { startSampling } from "./lib/memory-sampler.js";

/** Load before and after the migration, so that its gap stands out of the usual ones. */
const settleMs = 500;
const stopSeconds = 15;

/** @param archive the fixture's image, as `docker save` writes it */
export async function openUms(archive: string): Promise<Method> {
  const lab = await openOuterLab("ums-bench");
  const image = await outerWithFixture(fixture);
  return {
    name: "ums",
    async measure(experiment) {
      const pair = await startPair(lab, image, archive, experiment);
      try {
        return await migrate(pair, experiment);
      } catch (error) {
        await stopGently(pair);
        throw error;
      } finally {
        await Promise.all([pair.source.remove(), pair.destination.remove()]);
      }
    },
    close: () => lab.close(),
  };
}

interface Pair {
  source: OuterContainer;
  destination: OuterContainer;
}

/** Both ends have the image beforehand, as in the other method. */
async function startPair(
  lab: OuterLab,
  image: string,
  archive: string,
  { command }: Experiment,
): Promise<Pair> {
  const [source, destination] = await Promise.all([
    lab.start("source", { image, args: command, ports: [servicePort] }),
    lab.start("destination", { flags: ["-v", `${archive}:/bench/image.tar:ro`] }),
  ]);
  const loaded = await destination.exec("docker", "load", "--input", "/bench/image.tar");
  if (loaded.exitCode !== 0) throw new Error(`the image was not loaded: ${loaded.stderr}`);
  return { source, destination };
}

async function migrate(
  { source, destination }: Pair,
  experiment: Experiment,
): Promise<Measurement> {
  const address = source.port(servicePort);
  await untilServing(address);
  const load = await startLoad(address, experiment.request);
  try {
    await sleep(settleMs);
    const samplers = await Promise.all([
      startSampling(source.name),
      startSampling(destination.name),
    ]);
    const result = await source.move(destination);
    await sleep(settleMs);
    const [sourcePeakBytes = 0, destinationPeakBytes = 0] = await Promise.all(
      samplers.map((sampler) => sampler.stop()),
    );
    const { longestGapMs, faults } = await load.stop();
    const state = await askOnce(address, "check").catch((error: Error) => error.message);
    if (!state.startsWith("ok")) faults.push(`the state of the service: ${state}`);
    return {
      totalMs: result.totalMs,
      freezeMs: result.freezeMs,
      gapMs: longestGapMs,
      bytesSent: Number(result.bytesSent),
      peakBytes: Math.max(0, destinationPeakBytes - experiment.memoryMib * 1024 ** 2),
      sourcePeakBytes,
      timingsMs: result.timingsMs,
      faults,
    };
  } finally {
    await load.stop();
  }
}

/**
 * With a frozen service inside, an outer container cannot be removed (cgroup v1). Asked to stop, its
 * supervisor ends a migration first.
 */
async function stopGently({ source, destination }: Pair): Promise<void> {
  const names = [source.name, destination.name];
  await run(["docker", "stop", "--time", String(stopSeconds), ...names], {
    timeoutMs: (stopSeconds + 10) * 1_000 * names.length,
  }).catch(() => {
    // Gone already, or it will not stop: the removal that follows says so.
  });
}
