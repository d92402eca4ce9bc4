/**
 * An operator's word that the other side is dead for good: its outer container can never run again.
 * Only such a word may end a doubt without the other side's answer; a false one makes two copies.
 */
export interface Fence {
  /** Who gave it, e.g. `operator alice` or `operator local`. */
  by: string;
  /** When, RFC 3339. */
  at: string;
}

/** The reason recorded with what it caused. */
export function fenceReason(verb: string, { by, at }: Fence): string {
  return `${verb} --fenced by ${by} at ${at}`;
}
