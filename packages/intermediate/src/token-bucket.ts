import type { Millis } from "@adit/core";

/** So much on average, and a burst at once. Its bounds may change while it runs. */
export class TokenBucket {
  #tokens: number | null = null;
  #at: Millis = 0;

  /** Takes `amount`, or nothing and says false. An amount above the burst passes when the bucket is full, and leaves it in debt. */
  take(now: Millis, amount: number, perSecond: number, burst: number): boolean {
    if (perSecond === Number.POSITIVE_INFINITY) return true;
    const enough = this.#refill(now, perSecond, burst) >= Math.min(amount, burst);
    if (enough) this.#tokens = (this.#tokens ?? burst) - amount;
    return enough;
  }

  /** Whether {@link take} would take one. */
  has(now: Millis, perSecond: number, burst: number): boolean {
    return perSecond === Number.POSITIVE_INFINITY || this.#refill(now, perSecond, burst) >= 1;
  }

  #refill(now: Millis, perSecond: number, burst: number): number {
    const earned = (Math.max(0, now - this.#at) * perSecond) / 1000;
    this.#tokens = this.#tokens === null ? burst : Math.min(burst, this.#tokens + earned);
    this.#at = now;
    return this.#tokens;
  }
}
