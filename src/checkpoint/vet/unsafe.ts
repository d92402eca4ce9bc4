import { UmsError } from "../../errors.js";

/** The error of every rule here: what in the checkpoint exceeds what is granted. */
export function unsafe(what: string, details: Record<string, unknown> = {}): UmsError {
  return new UmsError("ERR_CHECKPOINT_UNSAFE", `the checkpoint is not restored: ${what}`, {
    details,
    hint: "the source runs on; compare both sides' versions and settings, and trust in the source",
  });
}
