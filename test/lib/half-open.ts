/** A client that asks for a TCP connection and is never heard of again. */
import { run } from "../../src/lib/exec.js";

/** Not in use on the engine's bridge: nobody answers there, not even with a reset. */
const goneHost = "172.17.255.253";

const script = `
import socket, struct, sys
source, target, port, count = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
def checksum(data):
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF
ends = socket.inet_aton(source) + socket.inet_aton(target)
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
for number in range(count):
    def syn(sum):
        return struct.pack("!HHLLBBHHH", 40000 + number, port, 1, 0, 5 << 4, 2, 64240, sum, 0)
    tcp = syn(checksum(ends + struct.pack("!HH", 6, 20) + syn(0)))
    header = struct.pack("!BBHHHBBH", 0x45, 0, 40, 0, 0, 64, 6, 0) + ends
    raw.sendto(header + tcp, (target, 0))
`;

/** Sends `count` SYNs whose answers are never acknowledged. Needs root and python3. */
export async function openHalf(host: string, port: number, count: number): Promise<void> {
  await run(["python3", "-c", script, goneHost, host, String(port), String(count)]);
}
