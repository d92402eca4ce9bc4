/** Streams over bytes in memory. */
import { PassThrough, type Readable, Writable } from "node:stream";

/** A byte stream (not object mode, unlike Readable.from) that gives these bytes and ends. */
export function streamOf(...parts: Uint8Array[]): Readable {
  const stream = new PassThrough();
  for (const part of parts) stream.write(part);
  stream.end();
  return stream;
}

export interface Collector {
  stream: Writable;
  /** What was written so far. */
  bytes(): Buffer;
}

export function collector(): Collector {
  const parts: Buffer[] = [];
  const stream = new Writable({
    write(chunk: Buffer, _encoding, done) {
      parts.push(Buffer.from(chunk));
      done();
    },
  });
  return { stream, bytes: () => Buffer.concat(parts) };
}
