/** The address of this machine that containers on the engine's default network reach. */
import { run } from "../../src/lib/exec.js";

/**
 * Asks ip(8), because Node lists no interface without a carrier, and docker0 has none before the
 * first container is attached.
 */
export async function bridgeAddress(): Promise<string> {
  const { stdout } = await run(["ip", "-json", "-4", "address", "show", "dev", "docker0"]);
  const [bridge] = JSON.parse(stdout) as { addr_info?: { local: string }[] }[];
  const address = bridge?.addr_info?.[0]?.local;
  if (address === undefined) throw new Error("the engine's bridge docker0 has no IPv4 address");
  return address;
}
