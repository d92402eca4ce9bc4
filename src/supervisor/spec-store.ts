import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { UmsError } from "../errors.js";
import { isNotFound, writeFileDurably } from "../lib/files.js";
import type { ServiceSpec } from "../spec.js";

/** The service this outer container has or had. */
export interface StoredService {
  spec: ServiceSpec;
  /**
   * `local`: made from this outer container's own surroundings, which may change with the next
   * start. `received`: came with a migration and holds whatever the surroundings are.
   */
  origin: "local" | "received";
}

export interface SpecStore {
  /** Undefined before the first service. @throws ERR_SPEC_INVALID when the file is damaged */
  read(): Promise<StoredService | undefined>;
  write(service: StoredService): Promise<void>;
}

/** Keeps the service's specification in the state directory. */
export function openSpecStore(stateDir: string): SpecStore {
  const path = join(stateDir, "service.json");
  return {
    async read() {
      try {
        return JSON.parse(await readFile(path, "utf8")) as StoredService;
      } catch (error) {
        if (isNotFound(error)) return undefined;
        throw new UmsError("ERR_SPEC_INVALID", `${path} cannot be read`, { cause: error });
      }
    },
    async write(service) {
      await writeFileDurably(path, `${JSON.stringify(service, null, 2)}\n`);
    },
  };
}
