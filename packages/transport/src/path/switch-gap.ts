import type { Millis } from "@adit/core";
import type { PairId } from "@adit/ice";

/** Measures what a switch cost: last packet received on the old path to first received on the new one. What comes on any other says nothing. */
export class SwitchGap {
  /** What carries the session. */
  #active: PairId | null = null;
  /** What carried it before, while nothing has come on the active one yet. */
  #left: PairId | null = null;
  #isOpen = false;
  /** On the active path, or on the one that was left while a switch is measured. */
  #lastHeardMs: Millis | null = null;

  /** The session begins on `pair`: nothing to measure. */
  begin(pair: PairId): void {
    this.#active = pair;
  }

  /** The session moved to `to` just now. */
  start(now: Millis, to: PairId): void {
    this.#left = this.#active;
    this.#active = to;
    this.#isOpen = true;
    this.#lastHeardMs ??= now;
  }

  /** A packet came in on `pair`. Returns the gap in ms when it is the first one on the new path, else null. */
  handleHeard(now: Millis, pair: PairId): Millis | null {
    if (pair !== this.#active) {
      if (this.#isOpen && pair === this.#left) this.#lastHeardMs = now;
      return null;
    }
    const gapMs = now - (this.#lastHeardMs ?? now);
    this.#lastHeardMs = now;
    if (!this.#isOpen) return null;
    this.#isOpen = false;
    return gapMs;
  }

  /** Gives up waiting; true when a switch was still being measured. */
  abandon(): boolean {
    const was = this.#isOpen;
    this.#isOpen = false;
    return was;
  }
}
