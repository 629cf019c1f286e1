import type { Millis } from "@adit/core";

/** The minimum is taken over the answers of this long, */
const WINDOW_MS = 8_000;
/** of which so many are kept at most; the oldest goes first. */
const MAX_SAMPLES = 256;

/**
 * Round-trip time of one pair, from authenticated checks only: what QUIC measured on a slot belongs to whatever pair the
 * slot was bound to before.
 */
export class RoundTrip {
  #smoothedMs: Millis | null = null;
  readonly #recent: { readonly at: Millis; readonly rttMs: Millis }[] = [];

  /** RFC 6298 §2 with alpha = 1/8. */
  add(now: Millis, rttMs: Millis): void {
    this.#smoothedMs = this.#smoothedMs === null ? rttMs : this.#smoothedMs + (rttMs - this.#smoothedMs) / 8;
    while (this.#recent[0] && (this.#recent[0].at < now - WINDOW_MS || this.#recent.length >= MAX_SAMPLES))
      this.#recent.shift();
    this.#recent.push({ at: now, rttMs });
  }

  /** Smoothed, ms; null before the first answer. */
  get smoothedMs(): Millis | null {
    return this.#smoothedMs;
  }

  /** The least of the last answers, ms: queues and busy machines only add, so this is what the path itself takes. */
  get minMs(): Millis | null {
    let least: Millis | null = null;
    for (const { rttMs } of this.#recent) if (least === null || rttMs < least) least = rttMs;
    return least;
  }
}
