import { PassThrough, type Readable } from "node:stream";
import type Docker from "dockerode";
import { UmsError } from "../errors.js";
import type { Call } from "./engine.js";
import { engineError } from "./engine-error.js";

/** Moving an image's bytes; large images on slow links take minutes. */
const transferTimeoutMs = 1_800_000;

/** What UMS needs to know of an image. Times of the health check are nanoseconds. */
export interface ImageInspection {
  id: string;
  /** Uncompressed layer digests, base first. */
  layers: string[];
  config: {
    env: string[];
    entrypoint: string[];
    command: string[];
    exposedPorts: string[];
    volumes: string[];
    workingDir: string;
    user: string;
    stopSignal: string | undefined;
    labels: Record<string, string>;
    healthcheck: HealthcheckConfig | undefined;
  };
}

export interface HealthcheckConfig {
  Test?: string[];
  Interval?: number;
  Timeout?: number;
  StartPeriod?: number;
  Retries?: number;
}

/** User, password and registry, or a token, as the engine's X-Registry-Auth takes them. */
export type RegistryAuth = Record<string, string>;

export interface ImageCalls {
  /** Undefined when the engine does not have it. */
  inspectImage(reference: string): Promise<ImageInspection | undefined>;
  /** The layers of every image here, each base first. */
  listImageLayers(): Promise<string[][]>;
  /** @throws ERR_IMAGE_NOT_FOUND when no registry has it or lets us in */
  pullImage(reference: string, auth?: RegistryAuth): Promise<void>;
  /** Loads a `docker save` archive; answers the ids or references the engine reports. */
  loadImage(archive: Readable): Promise<string[]>;
  /** A `docker save` archive of an image, by reference or id. */
  saveImage(reference: string): Promise<Readable>;
  /** Makes an image of a root file system archive; `changes` are Dockerfile instructions. */
  importImage(rootfs: Readable, reference: string, changes: string[]): Promise<void>;
}

export function createImageCalls(docker: Docker, call: Call): ImageCalls {
  return {
    async inspectImage(reference) {
      try {
        return fromEngine(await call(`inspect ${reference}`, docker.getImage(reference).inspect()));
      } catch (error) {
        if (error instanceof UmsError && error.code === "ERR_IMAGE_NOT_FOUND") return undefined;
        throw error;
      }
    },
    async listImageLayers() {
      const images = await call("list images", docker.listImages());
      const inspected = await Promise.all(
        images.map(({ Id }) => call(`inspect ${Id}`, docker.getImage(Id).inspect())),
      );
      return inspected.map((image) => image.RootFS.Layers ?? []);
    },
    async pullImage(reference, auth) {
      const what = `pull ${reference}`;
      const options = auth === undefined ? {} : { authconfig: auth as never };
      const progress = await call(what, docker.pull(withTag(reference), options));
      await call(what, followProgress(docker, progress), transferTimeoutMs);
    },
    async loadImage(archive) {
      // The archive may fail to be read long before the engine notices.
      const body = new PassThrough();
      const progress = await call(
        "load image",
        new Promise<NodeJS.ReadableStream>((resolve, reject) => {
          archive.on("error", (error) => body.destroy(error));
          body.on("error", reject);
          docker.loadImage(archive.pipe(body), { quiet: true }).then(resolve, reject);
        }),
        transferTimeoutMs,
      );
      const lines = await call("load image", followProgress(docker, progress), transferTimeoutMs);
      return lines.flatMap((line) => /^Loaded image(?: ID)?: (\S+)/.exec(line)?.[1] ?? []);
    },
    async saveImage(reference) {
      const image = docker.getImage(reference);
      return (await call(`save ${reference}`, image.get(), transferTimeoutMs)) as Readable;
    },
    async importImage(rootfs, reference, changes) {
      const [, repo = reference, tag = "latest"] = /^(.+?)(?::([^/:]+))?$/.exec(reference) ?? [];
      const progress = await call(
        `import ${reference}`,
        docker.importImage(rootfs, { repo, tag, changes }),
      );
      await call(`import ${reference}`, followProgress(docker, progress), transferTimeoutMs);
    },
  };
}

/** Reads a progress stream to its end; an `error` line in it is the call's failure. */
function followProgress(docker: Docker, progress: NodeJS.ReadableStream): Promise<string[]> {
  return new Promise((resolve, reject) => {
    docker.modem.followProgress(progress, (error, rows: { stream?: string; error?: string }[]) => {
      const failure = error?.message ?? rows?.find((row) => row.error !== undefined)?.error;
      if (failure !== undefined) reject(engineError("image transfer", new Error(failure)));
      else resolve((rows ?? []).flatMap((row) => row.stream?.trim() ?? []));
    });
  });
}

/** The engine's API pulls every tag of a name without one. */
function withTag(reference: string): string {
  return /:[^/]+$|@sha256:/.test(reference) ? reference : `${reference}:latest`;
}

function fromEngine(image: Docker.ImageInspectInfo): ImageInspection {
  // The engine answers null for empty lists and maps.
  const config: Partial<Docker.ImageInspectInfo["Config"]> & { StopSignal?: string } =
    image.Config ?? {};
  return {
    id: image.Id,
    layers: image.RootFS.Layers ?? [],
    config: {
      env: config.Env ?? [],
      entrypoint: [config.Entrypoint ?? []].flat(),
      command: config.Cmd ?? [],
      exposedPorts: Object.keys(config.ExposedPorts ?? {}),
      volumes: Object.keys(config.Volumes ?? {}),
      workingDir: config.WorkingDir ?? "",
      user: config.User ?? "",
      stopSignal: config.StopSignal,
      labels: config.Labels ?? {},
      healthcheck: config.Healthcheck as HealthcheckConfig | undefined,
    },
  };
}
