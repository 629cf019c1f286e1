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
  /** All that is known is an upper bound. */
  #isBound = false;
  #recent: { readonly at: Millis; readonly rttMs: Millis }[] = [];

  /**
   * RFC 6298 §2 with alpha = 1/8. `repeated`: an answer to a request that was sent more than once, as the first ones through a NAT are; then `rttMs` is an
   * upper bound, which stands until there is something better (RFC 6298 §3: "RTT samples MUST NOT be made using segments that were retransmitted").
   */
  add(now: Millis, rttMs: Millis, repeated = false): void {
    if (repeated && this.#smoothedMs !== null && !this.#isBound) return;
    if (repeated || this.#isBound) {
      this.#smoothedMs = repeated ? Math.min(rttMs, this.#smoothedMs ?? rttMs) : rttMs;
      this.#isBound = repeated;
      this.#recent = [{ at: now, rttMs: this.#smoothedMs }];
      return;
    }
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
