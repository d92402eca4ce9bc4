/** Dynamic update of a zone (RFC 2136). */
import { type ExchangeOptions, exchange, newMessageId, rcodeError } from "./exchange.js";
import type { TsigKey } from "./tsig.js";
import { encodeUpdate, type RecordSet } from "./wire.js";

export interface UpdateOptions extends ExchangeOptions {
  key: TsigKey;
  zone: string;
  /** Each must be exactly so, or nothing is changed: nobody's change is overwritten unseen. */
  expected: readonly RecordSet[];
  /** Each becomes exactly so, all at once or none. */
  wanted: readonly RecordSet[];
  ttlSeconds: number;
}

/**
 * Changes records in one step.
 * @throws ERR_DNS_CONFLICT when what is there is not what was expected
 * @throws ERR_DNS_REFUSED, ERR_DNS_UPDATE_FAILED
 * @throws ERR_DNS_UNREACHABLE: it may have been done nevertheless; read before trying again
 */
export async function updateRecords(options: UpdateOptions): Promise<void> {
  const { zone, expected, wanted, ttlSeconds, server } = options;
  const id = newMessageId();
  const message = encodeUpdate({ id, zone, expected, wanted, ttlSeconds });
  const { rcode } = await exchange(message, options);
  if (rcode === "NOERROR") return;
  throw rcodeError(rcode, `${wanted[0]?.name ?? zone} was not changed`, server);
}
