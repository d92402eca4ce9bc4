import { UmsError } from "../errors.js";

/** A piece of the service's output. */
export interface OutputFrame {
  stream: "stdout" | "stderr";
  payload: Buffer;
}

const headerBytes = 8;
/** dockerd sends at most 32 KiB a frame (io.Copy); more than this is not its framing. */
const maxFrameBytes = 16 * 1024 * 1024;

/**
 * Splits the engine's multiplexed stream (docs.docker.com, Engine API, "Stream format": one byte
 * stream type, three zero bytes, big-endian u32 length, payload). Pulls from `source`, so a slow
 * reader slows the service down and nothing piles up. Payload is passed on as it arrives, not
 * gathered into whole frames.
 * @throws ERR_FRAME_INVALID when the source is not in that framing
 */
export async function* splitFrames(source: AsyncIterable<Buffer>): AsyncGenerator<OutputFrame> {
  let header = Buffer.alloc(0);
  let stream: OutputFrame["stream"] = "stdout";
  let remaining = 0;
  for await (const chunk of source) {
    let rest = chunk;
    while (rest.length > 0) {
      if (remaining > 0) {
        const payload = rest.subarray(0, remaining);
        remaining -= payload.length;
        rest = rest.subarray(payload.length);
        yield { stream, payload };
        continue;
      }
      const missing = headerBytes - header.length;
      header = Buffer.concat([header, rest.subarray(0, missing)]);
      rest = rest.subarray(missing);
      if (header.length < headerBytes) continue;
      ({ stream, remaining } = readHeader(header));
      header = Buffer.alloc(0);
    }
  }
}

/** The output of a container with a TTY: one raw stream. */
export async function* rawFrames(source: AsyncIterable<Buffer>): AsyncGenerator<OutputFrame> {
  for await (const payload of source) yield { stream: "stdout", payload };
}

function readHeader(header: Buffer): { stream: OutputFrame["stream"]; remaining: number } {
  const type = header.readUInt8(0);
  const remaining = header.readUInt32BE(4);
  if (type > 2 || header.readUIntBE(1, 3) !== 0 || remaining > maxFrameBytes) {
    throw new UmsError("ERR_FRAME_INVALID", "the engine's output stream is out of step", {
      details: { header: header.toString("hex") },
    });
  }
  return { stream: type === 2 ? "stderr" : "stdout", remaining };
}
