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
    const { handshakesPerIpPerSecond: rate } = this.#limits();
    this.#of(ip).handshakes.take(now, 1, rate, rate * HANDSHAKE_BURST_S);
  }

  mayHandshake(now: Millis, ip: string): boolean {
    const { handshakesPerIpPerSecond: rate } = this.#limits();
    return this.#sources.get(sourceKey(ip))?.handshakes.has(now, rate, rate * HANDSHAKE_BURST_S) ?? true;
  }

  /** A name that nobody had. */
  takeName(now: Millis, ip: string): boolean {
    const { newNamesPerIpPerHour: rate } = this.#limits();
    return this.#of(ip).names.take(now, 1, rate / 3600, rate);
  }

  #of(ip: string): Source {
    const key = sourceKey(ip);
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

/** An IPv4 address, or the /64 of an IPv6 one: the least that a host is given (RFC 6177). */
export function sourceKey(ip: string): string {
  const bytes = ip.includes(":") ? parseIp(ip) : null;
  return bytes?.length === 16 ? toHex(bytes.subarray(0, 8)) : ip;
}
