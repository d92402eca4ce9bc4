/**
 * Sealed records: the format of the page stream, where every millisecond a MiB is the service's
 * freeze. See README.md, "Sealed records".
 *
 * A record's seal is an AES-128-GMAC (NIST SP 800-38D) of its payload under a random key of the
 * stream, with the record's number as nonce: a record that was altered, dropped, repeated or moved
 * does not verify. That is integrity end to end; secrecy and authenticity are TLS's. Measured:
 * 0.06 ms a MiB, against 0.75 for SHA-256.
 */
import { createCipheriv, createHash, randomBytes, timingSafeEqual } from "node:crypto";
import { UmsError } from "../errors.js";

export const keyBytes = 16;
export const sealBytes = 16;
export const lengthBytes = 4;
/** Payload of the last record, of length 0 on the wire: how many bytes there were (u64). */
export const totalBytes = 8;
/** Largest payload; one is held in memory until it is verified. */
export const maxRecordBytes = 1_048_576;

const algorithm = "aes-128-gcm";
const nonceBytes = 12;

/** Seals the records of one stream in their order, and digests the stream by its seals. */
export interface Sealer {
  /** Bytes sealed so far. */
  readonly bytes: number;
  /** Seal of the next record; `parts` together are its payload. */
  next(parts: readonly Uint8Array[]): Buffer;
  /** SHA-256 over key and seals so far, lower-case hex: the same on both sides. */
  digest(): string;
}

export function createSealer(key: Buffer): Sealer {
  const hash = createHash("sha256").update(key);
  const nonce = Buffer.alloc(nonceBytes);
  let number = 0;
  let bytes = 0;
  return {
    get bytes() {
      return bytes;
    },
    next(parts) {
      nonce.writeUIntBE(number, nonceBytes - 6, 6);
      number += 1;
      const cipher = createCipheriv(algorithm, key, nonce);
      for (const part of parts) {
        cipher.setAAD(part);
        bytes += part.length;
      }
      cipher.final();
      const seal = cipher.getAuthTag();
      hash.update(seal);
      return seal;
    },
    digest: () => hash.copy().digest("hex"),
  };
}

export function newKey(): Buffer {
  return randomBytes(keyBytes);
}

/**
 * Takes received bytes in any pieces and gives verified payloads back, without joining them.
 * Invariant: at most one record is held.
 */
export class RecordOpener {
  private sealer: Sealer | undefined;
  private pieces: Buffer[] = [];
  private heldBytes = 0;
  private payloadBytes: number | undefined;
  private hasEnded = false;

  /** @param onPayload gets a verified record's pieces, in order */
  constructor(private readonly onPayload: (pieces: Buffer[], bytes: number) => void) {}

  /** True once the last record has been verified; nothing may follow. */
  get ended(): boolean {
    return this.hasEnded;
  }

  /** Payload bytes verified so far. */
  get bytes(): number {
    return this.sealer?.bytes ?? 0;
  }

  digest(): string {
    return this.sealer?.digest() ?? "";
  }

  /** @throws ERR_FRAME_INVALID for a record that does not verify or has an impossible length */
  push(piece: Buffer): void {
    if (this.hasEnded) throw invalid("bytes behind the last record");
    this.pieces.push(piece);
    this.heldBytes += piece.length;
    while (!this.hasEnded && this.step());
    if (this.hasEnded && this.heldBytes > 0) throw invalid("bytes behind the last record");
  }

  /** Consumes one element of the format; false when more bytes are needed. */
  private step(): boolean {
    if (this.sealer === undefined) {
      if (this.heldBytes < keyBytes) return false;
      this.sealer = createSealer(Buffer.concat(this.take(keyBytes)));
      return true;
    }
    if (this.payloadBytes === undefined) {
      if (this.heldBytes < lengthBytes) return false;
      this.payloadBytes = Buffer.concat(this.take(lengthBytes)).readUInt32BE();
      if (this.payloadBytes > maxRecordBytes) throw invalid(`${this.payloadBytes} bytes`);
      return true;
    }
    const isLast = this.payloadBytes === 0;
    const wantedBytes = isLast ? totalBytes : this.payloadBytes;
    if (this.heldBytes < wantedBytes + sealBytes) return false;
    const sentBytes = this.sealer.bytes;
    const payload = this.take(wantedBytes);
    const seal = Buffer.concat(this.take(sealBytes));
    if (!timingSafeEqual(seal, this.sealer.next(payload))) throw invalid("its seal is wrong");
    if (isLast) this.end(Buffer.concat(payload), sentBytes);
    else this.onPayload(payload, wantedBytes);
    this.payloadBytes = undefined;
    return true;
  }

  private end(total: Buffer, sentBytes: number): void {
    if (total.readBigUInt64BE() !== BigInt(sentBytes)) {
      throw new UmsError("ERR_MANIFEST_MISMATCH", `${sentBytes} bytes came, not what was sent`);
    }
    this.hasEnded = true;
  }

  /** The first `count` bytes held, as slices; the caller has made sure that they are there. */
  private take(count: number): Buffer[] {
    const taken: Buffer[] = [];
    let missing = count;
    while (missing > 0) {
      const first = this.pieces[0];
      if (first === undefined) throw new TypeError("took more than is held");
      if (first.length <= missing) {
        taken.push(first);
        this.pieces.shift();
        missing -= first.length;
      } else {
        taken.push(first.subarray(0, missing));
        this.pieces[0] = first.subarray(missing);
        missing = 0;
      }
    }
    this.heldBytes -= count;
    return taken;
  }
}

function invalid(reason: string): UmsError {
  return new UmsError("ERR_FRAME_INVALID", `malformed record of the page stream: ${reason}`);
}
