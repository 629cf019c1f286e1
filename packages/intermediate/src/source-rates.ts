/**
 * How often something may be done for one source, for sources that prove nothing: whoever forges addresses must not make this server
 * remember them. So there is no entry per source but a table of fixed size; sources that meet in one slot, which a secret seed decides,
 * share what it grants.
 */
import { type Millis, type Random, randomInt } from "@adit/core";
import { SITE_SHARE, siteOf, sourceKey } from "./ip-limits.ts";

/** 64 KiB in all, and as much for the /48s of IPv6. */
const SLOTS = 4096;

export class SourceRates {
  readonly #sources: Slots;
  readonly #sites: Slots;

  constructor(random: Random) {
    this.#sources = new Slots(random);
    this.#sites = new Slots(random);
  }

  take(now: Millis, ip: string, perSecond: number, burst: number): boolean {
    const source = sourceKey(ip);
    const site = siteOf(source);
    const slot = this.#sources.refill(now, source, perSecond, burst);
    const siteSlot = site === null ? null : this.#sites.refill(now, site, perSecond * SITE_SHARE, burst * SITE_SHARE);
    if (!this.#sources.has(slot) || (siteSlot !== null && !this.#sites.has(siteSlot))) return false;
    this.#sources.take(slot);
    if (siteSlot !== null) this.#sites.take(siteSlot);
    return true;
  }
}

class Slots {
  readonly #seed: number;
  /** What is left in the slot, and when that was so. */
  readonly #tokens = new Float64Array(SLOTS).fill(Number.POSITIVE_INFINITY);
  readonly #at = new Float64Array(SLOTS);

  constructor(random: Random) {
    this.#seed = randomInt(random, 2 ** 32);
  }

  /** The slot of this key, with what it has earned. */
  refill(now: Millis, key: string, perSecond: number, burst: number): number {
    const slot = this.#slotOf(key);
    const earned = ((now - (this.#at[slot] as number)) * perSecond) / 1000;
    this.#tokens[slot] = Math.min(burst, (this.#tokens[slot] as number) + earned);
    this.#at[slot] = now;
    return slot;
  }

  has(slot: number): boolean {
    return (this.#tokens[slot] as number) >= 1;
  }

  take(slot: number): void {
    this.#tokens[slot] = (this.#tokens[slot] as number) - 1;
  }

  /** FNV-1a, 32 bits. */
  #slotOf(key: string): number {
    let hash = this.#seed;
    for (let i = 0; i < key.length; i++) hash = Math.imul(hash ^ key.charCodeAt(i), 0x01000193);
    return (hash ^ (hash >>> 16)) & (SLOTS - 1);
  }
}
