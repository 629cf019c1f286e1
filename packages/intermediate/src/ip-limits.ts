/** What one IP address may cost before anybody has proved a key. */
import { type Millis, parseIp, toHex } from "@adit/core";
import type { Limits } from "./limits.ts";
import { TokenBucket } from "./token-bucket.ts";

/** Addresses remembered. Past it the one not heard of for longest is forgotten, and starts anew. */
export const MAX_SOURCES = 65_536;

const HANDSHAKE_BURST_S = 10;

interface Source {
  readonly handshakes: TokenBucket;
  readonly names: TokenBucket;
}

export class IpLimits {
  readonly #limits: () => Limits;
  readonly #sources = new Map<string, Source>();

  constructor(limits: () => Limits) {
    this.#limits = limits;
  }

  get size(): number {
    return this.#sources.size;
  }

  /**
   * A handshake, half a millisecond of CPU, is to be done with this address, which is proved: first packets of QUIC come from anywhere that
   * their sender writes into them, and must not use up somebody else's share.
   */
  chargeHandshake(now: Millis, ip: string): void {
    const { handshakesPerIpPerSecond } = this.#limits();
    for (const { key, share } of sharesOf(ip)) {
      const rate = handshakesPerIpPerSecond * share;
      this.#of(key).handshakes.take(now, 1, rate, rate * HANDSHAKE_BURST_S);
    }
  }

  mayHandshake(now: Millis, ip: string): boolean {
    const { handshakesPerIpPerSecond } = this.#limits();
    return sharesOf(ip).every(({ key, share }) => {
      const rate = handshakesPerIpPerSecond * share;
      return this.#sources.get(key)?.handshakes.has(now, rate, rate * HANDSHAKE_BURST_S) ?? true;
    });
  }

  /** A name that nobody had. */
  takeName(now: Millis, ip: string): boolean {
    const { newNamesPerIpPerHour } = this.#limits();
    const buckets = sharesOf(ip).map(({ key, share }) => ({
      bucket: this.#of(key).names,
      burst: newNamesPerIpPerHour * share,
    }));
    const isFree = buckets.every(({ bucket, burst }) => bucket.has(now, burst / 3600, burst));
    if (isFree) for (const { bucket, burst } of buckets) bucket.take(now, 1, burst / 3600, burst);
    return isFree;
  }

  #of(key: string): Source {
    const known = this.#sources.get(key);
    if (known) {
      this.#sources.delete(key);
      this.#sources.set(key, known);
      return known;
    }
    if (this.#sources.size >= MAX_SOURCES) {
      const oldest = this.#sources.keys().next().value;
      if (oldest !== undefined) this.#sources.delete(oldest);
    }
    const source = { handshakes: new TokenBucket(), names: new TokenBucket() };
    this.#sources.set(key, source);
    return source;
  }
}

/** An IPv4 address, or the /64 of an IPv6 one: the least that a host is given (RFC 6177). What belongs to it is named by this key. */
export function sourceKey(ip: string): string {
  const bytes = ip.includes(":") ? parseIp(ip) : null;
  return bytes?.length === 16 ? toHex(bytes.subarray(0, 8)) : ip;
}

/**
 * A site is given a /48 (RFC 6177 §2: often, and often less), which is 65,536 /64s: all of them together have so many times the share of one. It is what a
 * carrier's customers have to share where they are no further apart than that.
 */
export const SITE_SHARE = 8;

/** The /48 that an IPv6 {@link sourceKey} is in; null for IPv4. */
export const siteOf = (source: string): string | null => (source.includes(".") ? null : source.slice(0, 12));

/** What has a share of its own and is charged with what comes from `ip`: the address or its /64, and its /48. */
function sharesOf(ip: string): readonly { readonly key: string; readonly share: number }[] {
  const source = sourceKey(ip);
  const site = siteOf(source);
  const own = { key: source, share: 1 };
  return site === null ? [own] : [own, { key: site, share: SITE_SHARE }];
}

/** How many of something there are, by where they come from. As many entries as there are things, two for each at most. */
export class SourceCounts {
  readonly #counts = new Map<string, number>();

  /** Of that {@link sourceKey}. */
  of(source: string): number {
    return this.#counts.get(source) ?? 0;
  }

  /** Whether `more` from there would be no more than `bound`, and of its site no more than {@link SITE_SHARE} times that. */
  hasRoom(source: string, bound: number, more = 1): boolean {
    const site = siteOf(source);
    return this.of(source) + more <= bound && (site === null || this.of(site) + more <= bound * SITE_SHARE);
  }

  add(source: string, by: number): void {
    const site = siteOf(source);
    for (const key of site === null ? [source] : [source, site]) {
      const next = this.of(key) + by;
      if (next > 0) this.#counts.set(key, next);
      else this.#counts.delete(key);
    }
  }
}
