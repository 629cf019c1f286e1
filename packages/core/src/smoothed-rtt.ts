import type { Millis } from "./time.ts";

/** RFC 6298 §2: "SRTT <- (1 - alpha) * SRTT + alpha * R'", "alpha=1/8", "beta=1/4", "RTO <- SRTT + max (G, K*RTTVAR)", "K = 4". */
const ALPHA = 1 / 8;
const BETA = 1 / 4;
const K = 4;
/** G. RFC 8489 §6.2.1: "a 1 ms accuracy SHOULD be maintained". */
const GRANULARITY_MS = 1;

/** What is known of a round trip from its measurements (RFC 6298 §2). */
export class SmoothedRtt {
  #rttMs: Millis | null = null;
  #variationMs: Millis = 0;

  /** SRTT, ms; null before the first measurement. */
  get rttMs(): Millis | null {
    return this.#rttMs;
  }

  /** RTO, ms, not rounded to whole seconds as TCP has it; null before the first measurement. */
  get timeoutMs(): Millis | null {
    return this.#rttMs === null ? null : this.#rttMs + Math.max(GRANULARITY_MS, K * this.#variationMs);
  }

  /** A round trip took so long, ms. */
  add(sampleMs: Millis): void {
    if (this.#rttMs === null) {
      this.#rttMs = sampleMs;
      this.#variationMs = sampleMs / 2;
      return;
    }
    this.#variationMs += BETA * (Math.abs(this.#rttMs - sampleMs) - this.#variationMs);
    this.#rttMs += ALPHA * (sampleMs - this.#rttMs);
  }
}
