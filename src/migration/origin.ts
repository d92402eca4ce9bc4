/** Where the service that is received comes from, as the destination's journal keeps it. */
import type { Ref } from "../peer/client.js";
import type { SourceAddress } from "./ask-source.js";
import type { DestinationState } from "./destination-state.js";
import type { JournalData } from "./journal.js";

export interface Origin {
  ref: Ref;
  source: SourceAddress;
  /** The token it was admitted by. */
  tokenId: string | undefined;
}

/** After a restart. */
export function originFrom(state: DestinationState, data: JournalData = {}): Origin | undefined {
  const { migrationId, epoch } = state;
  if (data.peer === undefined || migrationId === undefined || epoch === undefined) return undefined;
  const source = { address: data.peer, name: data.peerName };
  return { ref: { migrationId, epoch }, source, tokenId: data.tokenId };
}

export function journalDataOf(origin: Origin | undefined, containerId?: string): JournalData {
  return {
    ...(containerId === undefined ? {} : { containerId }),
    ...(origin === undefined ? {} : { peer: origin.source.address }),
    ...(origin?.source.name === undefined ? {} : { peerName: origin.source.name }),
    ...(origin?.tokenId === undefined ? {} : { tokenId: origin.tokenId }),
  };
}
