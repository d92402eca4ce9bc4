import { createReadStream } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Config } from "../config.js";
import type { Engine } from "../dockerd/engine.js";
import type { ImageInspection, RegistryAuth } from "../dockerd/images.js";
import { UmsError } from "../errors.js";
import { isNotFound } from "../lib/files.js";
import type { Logger } from "../lib/log.js";

/** Where `ums build` puts the nested image inside the outer one. */
export const bakedImageDir = "/usr/local/lib/ums/image";
export const bakedArchive = "image.tar";
export const bakedManifest = "service.json";

/** What `ums build` writes beside the archive. */
export interface BakedImage {
  reference: string;
  id: string;
  /** Working directory of the nested image, which the outer one carries too. */
  workingDir: string;
}

export interface NestedImage {
  image: ImageInspection;
  reference: string;
  ownWorkingDir: string;
}

/**
 * Gets the nested image into the inner engine: what UMS_IMAGE names (pulled unless it is there),
 * else the one baked into the outer image, loaded at the first start.
 * @returns undefined when neither is given
 * @throws ERR_IMAGE_NOT_FOUND
 */
export async function obtainImage(
  engine: Engine,
  config: Config,
  log: Logger,
): Promise<NestedImage | undefined> {
  if (config.UMS_IMAGE !== undefined)
    return await namedImage(engine, config, config.UMS_IMAGE, log);
  const baked = await readBaked();
  return baked === undefined ? undefined : await loadBaked(engine, baked, log);
}

async function namedImage(
  engine: Engine,
  config: Config,
  reference: string,
  log: Logger,
): Promise<NestedImage> {
  if ((await engine.inspectImage(reference)) === undefined) {
    log.info({ image: reference }, "pulling nested image");
    const credentials = await readOptional(config.UMS_REGISTRY_CONFIG);
    const auth = credentials === undefined ? undefined : registryAuth(reference, credentials);
    await engine.pullImage(reference, auth);
  }
  return { image: await present(engine, reference), reference, ownWorkingDir: "/" };
}

async function loadBaked(engine: Engine, baked: BakedImage, log: Logger): Promise<NestedImage> {
  if ((await engine.inspectImage(baked.id)) === undefined) {
    log.info({ image: baked.reference }, "loading the nested image that the outer image holds");
    await engine.loadImage(createReadStream(join(bakedImageDir, bakedArchive)));
  }
  const image = await present(engine, baked.id);
  return { image, reference: baked.reference, ownWorkingDir: baked.workingDir || "/" };
}

async function present(engine: Engine, reference: string): Promise<ImageInspection> {
  const image = await engine.inspectImage(reference);
  if (image === undefined) {
    throw new UmsError("ERR_IMAGE_NOT_FOUND", `the engine has no image ${reference}`);
  }
  return image;
}

async function readBaked(): Promise<BakedImage | undefined> {
  const text = await readOptional(join(bakedImageDir, bakedManifest));
  return text === undefined ? undefined : (JSON.parse(text) as BakedImage);
}

/**
 * Credentials for a reference's registry, from a Docker configuration file (`auths` by registry;
 * Docker Hub under its historical address).
 */
export function registryAuth(reference: string, configuration: string): RegistryAuth | undefined {
  const [first = "", ...rest] = reference.split("/");
  // A first part with a dot or a port is a registry, `localhost` too (distribution/reference).
  const isRegistry = rest.length > 0 && (/[.:]/.test(first) || first === "localhost");
  const registry = isRegistry ? first : "https://index.docker.io/v1/";
  const { auths } = JSON.parse(configuration) as { auths?: Record<string, { auth?: string }> };
  const auth = auths?.[registry]?.auth;
  if (auth === undefined) return undefined;
  const [username = "", ...password] = Buffer.from(auth, "base64").toString("utf8").split(":");
  return { username, password: password.join(":"), serveraddress: registry };
}

async function readOptional(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw error;
  }
}
