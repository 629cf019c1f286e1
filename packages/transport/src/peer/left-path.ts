import type { Deadline, Millis } from "@adit/core";
import type { SlotIndex } from "../path/slots.ts";

/** After a move the path that was left is looked at again after 50 ms, then 100, 200, ... 1,600 ms later. */
const FIRST_LOOK_MS = 50;
const LOOKS = 6;

/**
 * What was lost on a path that was left, and when to make quiche see it.
 *
 * quiche 0.18 looks for lost packets per path, when an acknowledgement covers something sent on it, or when the connection leaves it.
 * A path that died gets no more acknowledgements, so what was lost after its last one is never declared lost. Data is sent again by
 * the probe timeout, but a lost MAX_STREAM_DATA is not, and both sides wait for each other for ever. Leaving the path once more,
 * after something newer was acknowledged elsewhere, makes quiche look (docs/adr/0007-lost-on-a-left-path.md).
 */
export class LeftPath {
  #left: { readonly slot: SlotIndex; looks: number; at: Millis } | null = null;

  /** The connection moved away from `slot` just now. */
  handleMoved(now: Millis, slot: SlotIndex): void {
    this.#left = { slot, looks: 0, at: now + FIRST_LOOK_MS };
  }

  /** The slot to leave once more now, or null. */
  take(now: Millis): SlotIndex | null {
    const left = this.#left;
    if (!left || now < left.at) return null;
    left.looks++;
    left.at = now + FIRST_LOOK_MS * 2 ** left.looks;
    if (left.looks >= LOOKS) this.#left = null;
    return left.slot;
  }

  /** For the side that can act by itself. */
  pollTimeout(): Deadline | null {
    return this.#left && { at: this.#left.at, reason: "losses on a left path" };
  }
}
