import type { Millis } from "@adit/core";

/** How many round trips the minimum is taken over. */
const WINDOW = 8;

/**
 * Round-trip time of one pair, from authenticated checks only: what QUIC measured on a slot belongs to whatever pair the
 * slot was bound to before.
 */
export class RoundTrip {
  #smoothedMs: Millis | null = null;
  readonly #recent: Millis[] = [];

  /** RFC 6298 §2 with alpha = 1/8. */
  add(rttMs: Millis): void {
    this.#smoothedMs = this.#smoothedMs === null ? rttMs : this.#smoothedMs + (rttMs - this.#smoothedMs) / 8;
    this.#recent.push(rttMs);
    if (this.#recent.length > WINDOW) this.#recent.shift();
  }

  /** Smoothed, ms; null before the first answer. */
  get smoothedMs(): Millis | null {
    return this.#smoothedMs;
  }

  /** The least of the last answers, ms: queues and busy machines only add, so this is what the path itself takes. */
  get minMs(): Millis | null {
    return this.#recent.length === 0 ? null : Math.min(...this.#recent);
  }
}
