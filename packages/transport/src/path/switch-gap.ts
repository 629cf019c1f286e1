import type { Millis } from "@adit/core";
import type { PairId } from "@adit/ice";

/** Measures what a switch cost: last packet received on the old path to first received on the new one. */
export class SwitchGap {
  #open: { readonly to: PairId; lastHeardMs: Millis } | null = null;
  #lastHeardMs: Millis | null = null;

  /** The session moved to `to` just now. */
  start(now: Millis, to: PairId): void {
    this.#open = { to, lastHeardMs: this.#lastHeardMs ?? now };
  }

  /** A packet came in on `pair`. Returns the gap in ms when it is the first one on the new path, else null. */
  handleHeard(now: Millis, pair: PairId): Millis | null {
    const open = this.#open;
    this.#lastHeardMs = now;
    if (!open) return null;
    if (pair !== open.to) {
      open.lastHeardMs = now;
      return null;
    }
    this.#open = null;
    return now - open.lastHeardMs;
  }

  /** Gives up waiting; true when a switch was still being measured. */
  abandon(): boolean {
    const was = this.#open !== null;
    this.#open = null;
    return was;
  }
}
