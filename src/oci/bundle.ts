/** An OCI bundle's config.json, as dockerd writes it: what a container is granted. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";

/** The parts UMS reads; https://github.com/opencontainers/runtime-spec/blob/main/config.md */
export interface OciConfig {
  process: {
    capabilities?: { bounding?: string[] };
    noNewPrivileges?: boolean;
    apparmorProfile?: string;
    selinuxLabel?: string;
    terminal?: boolean;
  };
  root?: { readonly?: boolean };
  mounts?: OciMount[];
  linux: {
    namespaces?: { type: string; path?: string }[];
    maskedPaths?: string[];
    readonlyPaths?: string[];
    seccomp?: OciSeccomp;
    devices?: { type: string; major?: number; minor?: number }[];
  };
}

export interface OciMount {
  destination: string;
  type?: string;
  options?: string[];
}

export interface OciSeccomp {
  defaultAction: string;
  architectures?: string[];
  syscalls?: OciSyscallRule[];
}

export interface OciSyscallRule {
  names: string[];
  action: string;
  args?: { index: number; value: number; valueTwo?: number; op: string }[];
}

export async function readBundle(directory: string): Promise<OciConfig> {
  return JSON.parse(await readFile(join(directory, "config.json"), "utf8")) as OciConfig;
}
