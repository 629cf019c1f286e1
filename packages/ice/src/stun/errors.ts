import { AditError } from "@adit/core";

/** A message that must not be built, code `bad-stun-message`. What arrives from the network never throws. */
export class StunError extends AditError {
  /** The only one. */
  override readonly code = "bad-stun-message";
}
