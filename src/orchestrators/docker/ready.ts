import type Docker from "dockerode";
import { UmsError } from "../../errors.js";
import { sleep } from "../../lib/deadline.js";
import type { Endpoint } from "../contract.js";
import { isSupervisorReady } from "../readiness.js";
import { type DockerApi, refused } from "./api.js";
import { nameOf } from "./read.js";

const pollIntervalMs = 200;
const logLines = 5;

export interface ReadyOptions {
  timeoutMs: number;
  signal?: AbortSignal;
  endpointOf(container: Docker.ContainerInspectInfo): Endpoint | undefined;
}

/**
 * Waits until the container's supervisor says that it is ready.
 * @throws ERR_ORCHESTRATOR_REFUSED as soon as the container has ended or begins again, with the
 *   last lines of its log; ERR_SERVICE_NOT_FOUND, ERR_DEADLINE, ERR_CANCELLED
 */
export async function untilContainerReady(
  api: DockerApi,
  id: string,
  { timeoutMs, signal, endpointOf }: ReadyOptions,
): Promise<void> {
  const endMs = performance.now() + timeoutMs;
  for (;;) {
    if (signal?.aborted) throw new UmsError("ERR_CANCELLED", "the wait was ended");
    const container = await api.inspect(id);
    if (container === undefined) {
      throw new UmsError("ERR_SERVICE_NOT_FOUND", `there is no container ${id}`);
    }
    await failWhenEnded(api, container);
    const endpoint = endpointOf(container);
    if (endpoint !== undefined && (await isSupervisorReady(endpoint, signal))) return;
    if (performance.now() >= endMs) {
      const health = container.State.Health?.Status ?? "unknown";
      throw new UmsError(
        "ERR_DEADLINE",
        `${nameOf(container)} was not ready within ${timeoutMs} ms (${container.State.Status}, health ${health})`,
      );
    }
    await sleep(pollIntervalMs, signal);
  }
}

async function failWhenEnded(api: DockerApi, container: Docker.ContainerInspectInfo) {
  const { State, RestartCount } = container;
  if (State.Status === "created") return;
  if (State.Running && !State.Restarting && !State.Paused && RestartCount === 0) return;
  if (State.Running && State.Paused) throw refused(nameOf(container), "it was paused");
  const exit = State.OOMKilled ? "it ran out of memory" : `exit code ${State.ExitCode}`;
  const reason = [`it ended (${exit})`, State.Error, await lastLines(api, container.Id)]
    .filter((part) => part !== "")
    .join(": ");
  throw refused(nameOf(container), reason, { exitCode: State.ExitCode });
}

/** Empty when there is no log to be had: the exit code must do. */
async function lastLines(api: DockerApi, id: string): Promise<string> {
  const read = async (docker: Docker): Promise<Buffer> =>
    // Without `follow` the client gives the whole answer, whatever its types say.
    (await docker
      .getContainer(id)
      .logs({ stdout: true, stderr: true, tail: logLines, follow: false })) as Buffer;
  try {
    const text = printable(await api.quick(`the log of ${id}`, read));
    return text.slice(-1_000).trim();
  } catch {
    // The container is going away, or its log driver cannot be read.
    return "";
  }
}

/** Without the engine's frame headers (8 bytes, the first one 1 or 2) and control characters. */
function printable(log: Buffer): string {
  return log.toString("utf8").replace(/[^\x20-\x7e\n]/g, "");
}
