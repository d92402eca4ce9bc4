import { createWriteStream } from "node:fs";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import type { Command } from "commander";
import { hostEngineAddress } from "../config.js";
import { type Engine, openEngine } from "../dockerd/engine.js";
import type { HealthcheckConfig, ImageInspection } from "../dockerd/images.js";
import { UmsError } from "../errors.js";
import { start } from "../lib/exec.js";
import {
  type BakedImage,
  bakedArchive,
  bakedImageDir,
  bakedManifest,
} from "../supervisor/image.js";
import { forwardedSignals } from "../supervisor/signals.js";
import type { CliContext } from "./program.js";

interface BuildOptions {
  tag: string;
  outer: string;
}

/** `ums build IMAGE -t TAG`: an outer image that holds a nested one; needs no registry. */
export function registerBuild(program: Command, context: CliContext): void {
  program
    .command("build")
    .description("make an outer image that holds IMAGE, so that swapping the reference is enough")
    .argument("<image>", "nested image, present in the engine or pulled")
    .requiredOption("-t, --tag <tag>", "name of the outer image")
    .option("--outer <image>", "outer image to start from", "ums/outer")
    .action(async (reference: string, options: BuildOptions) => {
      const engine = openEngine(hostEngineAddress(context.env));
      const id = await buildOuterImage(engine, reference, options);
      process.stdout.write(`${options.tag} ${id}\n`);
    });
}

/**
 * Makes the image as `docker commit` does: a container of the outer image that is never started,
 * the nested image's archive copied into it, and the configuration given as data. A Dockerfile
 * would need every value quoted, and cannot express some (a newline in a variable).
 *
 * @returns the id of the new image
 * @throws ERR_IMAGE_NOT_FOUND when the engine has neither image and cannot pull the nested one
 */
export async function buildOuterImage(
  engine: Engine,
  reference: string,
  { tag, outer }: BuildOptions,
): Promise<string> {
  if ((await engine.inspectImage(outer)) === undefined) {
    throw new UmsError("ERR_IMAGE_NOT_FOUND", `the engine has no outer image ${outer}`, {
      hint: "make it with `make image`, or name one with --outer",
    });
  }
  if ((await engine.inspectImage(reference)) === undefined) await engine.pullImage(reference);
  const nested = await engine.inspectImage(reference);
  if (nested === undefined) {
    throw new UmsError("ERR_IMAGE_NOT_FOUND", `the engine has no image ${reference}`);
  }
  const containerId = await engine.createContainer({ Image: outer });
  try {
    await copyNestedImage(engine, containerId, reference, nested);
    return await engine.commitContainer(containerId, tag, outerConfig(nested));
  } finally {
    await engine.removeContainer(containerId);
  }
}

/** Needs room for the image in the temporary directory: a tar header has the file's size first. */
async function copyNestedImage(
  engine: Engine,
  containerId: string,
  reference: string,
  nested: ImageInspection,
): Promise<void> {
  const root = await mkdtemp(join(tmpdir(), "ums-build-"));
  try {
    const directory = join(root, bakedImageDir);
    await mkdir(directory, { recursive: true });
    const manifest: BakedImage = {
      reference,
      id: nested.id,
      workingDir: nested.config.workingDir,
    };
    await writeFile(join(directory, bakedManifest), `${JSON.stringify(manifest)}\n`);
    const archive = await engine.saveImage(reference);
    await pipeline(archive, createWriteStream(join(directory, bakedArchive)));
    await engine.putArchive(containerId, "/", tarOf(root));
  } finally {
    await rm(root, { recursive: true });
  }
}

/** Only the image's directory is in the archive: parents would take our modes along. */
function tarOf(root: string): Readable {
  const argv = ["tar", "-C", root, "--owner=0", "--group=0", "-c", `.${bakedImageDir}`];
  const tar = start(argv, { stdio: ["ignore", "pipe", "inherit"] });
  if (tar.stdout === null) throw new TypeError("stdout is a pipe");
  return tar.stdout;
}

/**
 * What the outer image takes over from the nested one, so that the orchestrator sees the same
 * variables, ports, volumes and health. The engine lays it over the outer image's own
 * configuration, variables one by one; entrypoint and user stay the outer's
 * (docs/decisions/0002-nested-user-outer-root.md).
 */
export function outerConfig({ config }: ImageInspection): Record<string, unknown> {
  const healthcheck = outerHealthcheck(config.healthcheck);
  return {
    // Not PATH: `docker exec CONTAINER ums` must be found. The service gets its image's own anyway.
    Env: config.env.filter((variable) => !variable.startsWith("PATH=")),
    ExposedPorts: Object.fromEntries(config.exposedPorts.map((port) => [port, {}])),
    Volumes: Object.fromEntries(config.volumes.map((path) => [path, {}])),
    WorkingDir: config.workingDir,
    Labels: config.labels,
    ...(canForward(config.stopSignal) ? { StopSignal: config.stopSignal } : {}),
    ...(healthcheck === undefined ? {} : { Healthcheck: healthcheck }),
  };
}

/** The outer container's own start, nanoseconds: dockerd and the load of the image come first. */
const outerStartNs = 60e9;
/** `ums health` needs a Node start for each check: 0.3 s on an idle machine. Nanoseconds. */
const leastTimeoutNs = 5e9;

/** As often and as patiently as the nested check, asking the supervisor for its result. */
function outerHealthcheck(nested: HealthcheckConfig | undefined): HealthcheckConfig | undefined {
  const [kind = "NONE"] = nested?.Test ?? [];
  if (nested === undefined || kind === "NONE") return undefined;
  return {
    ...nested,
    Test: ["CMD", "/usr/local/bin/ums", "health"],
    // Zero stands for the engine's own default, which is longer than ours.
    ...(nested.Timeout ? { Timeout: Math.max(nested.Timeout, leastTimeoutNs) } : {}),
    StartPeriod: (nested.StartPeriod ?? 0) + outerStartNs,
  };
}

/**
 * The entrypoint is a POSIX shell and forwards a fixed set of signals. Any other stop signal stays
 * the nested container's alone: SIGTERM to the outer one leads to it too.
 */
function canForward(stopSignal: string | undefined): boolean {
  return (forwardedSignals as readonly string[]).includes(stopSignal ?? "");
}
