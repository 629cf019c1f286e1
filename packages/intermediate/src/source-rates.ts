/**
 * How often something may be done for one source, for sources that prove nothing: whoever forges addresses must not make this server
 * remember them. So there is no entry per source but a table of fixed size; sources that meet in one slot, which a secret seed decides,
 * share what it grants.
 */
import { type Millis, type Random, randomInt } from "@adit/core";
import { sourceKey } from "./ip-limits.ts";

/** 64 KiB in all. */
const SLOTS = 4096;

export class SourceRates {
  readonly #seed: number;
  /** What is left in the slot, and when that was so. */
  readonly #tokens = new Float64Array(SLOTS).fill(Number.POSITIVE_INFINITY);
  readonly #at = new Float64Array(SLOTS);

  constructor(random: Random) {
    this.#seed = randomInt(random, 2 ** 32);
  }

  take(now: Millis, ip: string, perSecond: number, burst: number): boolean {
    const slot = this.#slotOf(sourceKey(ip));
    const earned = ((now - (this.#at[slot] as number)) * perSecond) / 1000;
    const tokens = Math.min(burst, (this.#tokens[slot] as number) + earned);
    this.#at[slot] = now;
    this.#tokens[slot] = tokens >= 1 ? tokens - 1 : tokens;
    return tokens >= 1;
  }

  /** FNV-1a, 32 bits. */
  #slotOf(key: string): number {
    let hash = this.#seed;
    for (let i = 0; i < key.length; i++) hash = Math.imul(hash ^ key.charCodeAt(i), 0x01000193);
    return (hash ^ (hash >>> 16)) & (SLOTS - 1);
  }
}
