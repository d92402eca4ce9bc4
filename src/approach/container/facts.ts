/** What this machine offers, probed once. */
import { readFileSync } from "node:fs";
import { arch, release } from "node:os";
import { run } from "../../lib/exec.js";
import { exists } from "../../lib/files.js";
import type { Facts } from "../../spec.js";
import { protocolVersion } from "../compatible.js";

/** @throws ERR_COMMAND_FAILED when CRIU is not there */
export async function probeFacts(umsVersion: string): Promise<Facts> {
  const { stdout } = await run(["criu", "--version"]);
  const cpuinfo = readFileSync("/proc/cpuinfo", "utf8");
  return {
    protocolVersion,
    umsVersion,
    architecture: arch(),
    kernelRelease: release(),
    criuVersion: /^Version: ([\d.]+)/m.exec(stdout)?.[1] ?? "0",
    cgroupVersion: (await exists("/sys/fs/cgroup/freezer")) ? 1 : 2,
    cpuFlags: (/^(?:flags|Features)\s*: (.*)$/m.exec(cpuinfo)?.[1] ?? "")
      .split(" ")
      .filter(Boolean),
  };
}
