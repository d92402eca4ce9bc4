/** A network of the engine for the outer containers: their addresses outlive their restarts. */
import { run } from "../../src/lib/exec.js";
import type { LabNetwork } from "./pair.js";

export interface OpenNetwork extends LabNetwork {
  close(): Promise<void>;
}

/** Of the machine, its engine and the containers of other tests, 10.214/16 is left free. */
const ranges = Array.from({ length: 16 }, (_, index) => `10.214.${index}`);

export async function openNetwork(name: string): Promise<OpenNetwork> {
  await run(["docker", "network", "rm", name]).catch(() => undefined); // Of an earlier run.
  const range = await createInFreeRange(name);
  let last = 9;
  return {
    gateway: `${range}.1`,
    nextAddress() {
      // The addresses of removed containers come again only after the whole range.
      last = last >= 250 ? 10 : last + 1;
      return ["--network", name, "--ip", `${range}.${last}`];
    },
    async close() {
      await run(["docker", "network", "rm", name]);
    },
  };
}

async function createInFreeRange(name: string): Promise<string> {
  let failure: unknown;
  for (const range of ranges) {
    try {
      await run(["docker", "network", "create", "--subnet", `${range}.0/24`, name]);
      return range;
    } catch (error) {
      // Taken by another network: the next one.
      failure = error;
    }
  }
  throw failure;
}
