/** JSON of a message: 64-bit numbers become numbers, as every figure of ours fits in 53 bits. */
export function toJson(message: unknown): string {
  return JSON.stringify(message, (_key, value) =>
    typeof value === "bigint" ? Number(value) : value,
  );
}
