/**
 * CRC-32C (Castagnoli, RFC 3720 appendix B.4), the checksum of journal records. Node's zlib has
 * only the other CRC-32.
 */
const table = makeTable();

/** Checksum of `bytes` as an unsigned 32-bit number. */
export function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = (crc >>> 8) ^ (table[(crc ^ byte) & 0xff] as number);
  return (crc ^ 0xffffffff) >>> 0;
}

function makeTable(): Uint32Array {
  const reversedPolynomial = 0x82f63b78;
  return Uint32Array.from({ length: 256 }, (_, index) => {
    let value = index;
    for (let bit = 0; bit < 8; bit += 1) {
      value = value & 1 ? (value >>> 1) ^ reversedPolynomial : value >>> 1;
    }
    return value >>> 0;
  });
}
