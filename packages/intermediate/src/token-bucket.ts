import type { Millis } from "@adit/core";

/** So much on average, and a burst at once. Its bounds may change while it runs. */
export class TokenBucket {
  #tokens: number | null = null;
  #at: Millis = 0;

  /** Takes `amount`, or nothing and says false. An amount above the burst passes when the bucket is full, and leaves it in debt. */
  take(now: Millis, amount: number, perSecond: number, burst: number): boolean {
    if (perSecond === Number.POSITIVE_INFINITY) return true;
    const before = this.#tokens ?? burst;
    const tokens = Math.min(burst, before + (Math.max(0, now - this.#at) * perSecond) / 1000);
    this.#at = now;
    const enough = tokens >= Math.min(amount, burst);
    this.#tokens = enough ? tokens - amount : tokens;
    return enough;
  }
}
